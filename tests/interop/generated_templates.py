"""Chat templates at random: expressions, filters, methods, loops, macros, and blanks around tags."""

WORDS = ["a", "b", "Ab c", "x-y", "", "  p q ", "é", "<b>&", "1", "12", "3.5", "-4", "a,b,c", "line\nnext\r\nlast", "it's"]
WORDS += ['"q"', "\u200b", "ß", "тест", "日本", "😀", "\t", "%s", "{}", "ab" * 5]

NAMES = """messages tools messages[0] messages[1] messages[0].content messages[-1]['content'] messages[1].tool_calls bos_token x y
ns.n missing messages[0].role d nums words add_generation_prompt messages[0].missing d.a d['b'] nums[1] words[0]
tools[0].function tools[0].function.parameters""".split()

LOOP = """m m.role m.content loop.index loop.first loop.last loop.index0 loop.length loop.revindex loop.previtem
loop.nextitem.role m['content']""".split()

TESTS = """defined|none|string|mapping|number|integer|float|boolean|true|false|sequence|iterable|undefined|odd|even|callable|in [1,'a']
|eq 1|divisibleby 2|lower|upper|ne 'a'|sameas none|escaped""".replace("\n", "").split("|")

FILTERS = """abs;capitalize;center(N);default('D');default('D', true);d(1);dictsort;dictsort(by='value');dictsort(reverse=true)
;escape;filesizeformat;first;float;int;int(7);items|list;join;join(', ');join('-', attribute='role');last;length;count;list
;lower;max;min;replace('a','Q');replace('a','Q',1);reverse|list;reverse;round;round(1);round(1,'floor');round(0,'ceil');sort
;sort(reverse=true);sort(attribute='role');sort(case_sensitive=true);string;striptags;sum;sum(attribute='n');title;tojson
;tojson(indent=2);tojson(ensure_ascii=true);tojson(separators=(',',':'));tojson(sort_keys=true);trim;trim('a');truncate(5)
;truncate(3,true,'');truncate(6,false,'..',0);unique|list;urlencode;wordcount;wordwrap(5);map('upper')|list
;map(attribute='role')|list;map('length')|list;map('default','-')|join;select|list;select('string')|list;reject('none')|list
;selectattr('role','eq','user')|list|length;selectattr('content')|list|length;upper
;rejectattr('role','in',['user'])|map(attribute='content')|list;selectattr('tool_calls','defined')|list;batch(2)|list
;slice(2)|list;batch(2,'-')|list;slice(2,'-')|list;groupby('role');indent;indent(2,true);indent(2,false,true);indent('> ')
;attr('x');pprint;xmlattr;format('z');map('replace','a','b')|list;list|length;string|length;tojson|length
;groupby('role')|map('first')|list;map('int')|sum;max(attribute='role');min(attribute='n')""".replace("\n", "").split(";")

METHODS = """strip();lstrip();rstrip();split();split(W);split(W, 1);rsplit(W, 1);split(none, 1);rsplit(none, 1);startswith(W)
;endswith(W);replace(W, 'Z');replace(W,'Y',1);upper();lower();title();capitalize();swapcase();find(W);rfind(W);count(W)
;index(W);strip(W);lstrip(W);rstrip('ab\\n');splitlines();splitlines(true);join(['p','q']);join(words);zfill(N);center(N)
;center(N, '*');ljust(N);rjust(N, '.');partition(W);rpartition(W);removeprefix(W);removesuffix(W);isdigit();isalpha()
;isalnum();isspace();islower();isupper();istitle();isnumeric();isidentifier();casefold();expandtabs();format(1, 'b')
;startswith(('a','b'));find(W, 1);count(W, 1, 4);encode()|length""".replace("\n", "").split(";")

SUBJECTS = ["messages[0].content", "'a,b, c'", "bos_token", "'  pad '", "x", "'Hello World'", "words[0]", "messages[0].role"]
ITEMS = """[0] [-1] [1:] [:2] [::-1] [-2:] ['a'] ['role'] [5] .role .content [1:3] [::2] .items [none] [:-1] .keys()
['content'][0] .0 [true]""".split()
FORMATS = ["'%s|%r' % (x, 1)", "'%5.2f|%-4d|%03d|%x' % (1.5, 7, 42, 255)", "'%s' % words", "'{:>5}|{:.2f}|{:,}'.format('a', 3.14159, 1234567)"]
FORMATS += ["'{0}{1}{0}'.format('a', 'b')", "'{a[b]}'.format(a={'b': 1})", "cycler('p','q').next()", "dict(a=1)", "'%(k)s' % {'k': 2}"]

CONTEXT = {
    "messages": [
        {"role": "system", "content": "Be  brief.\n"},
        {"role": "user", "content": " Hi <b> é\n", "n": 2},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": [1.5, "é", None, True]}}}
            ],
            "n": 1,
        },
        {"role": "tool", "content": [{"type": "text", "text": "it's"}], "n": 3},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d\"q'",
                "parameters": {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "string"}}, "required": ["b"]},
            },
        }
    ],
    "bos_token": "<s>",
    "add_generation_prompt": True,
    "d": {"b": 1, "a": "z", "c": None},
    "nums": [3, 1, 2, 2],
    "words": ["pear", "Apple", "fig apple"],
    "documents": None,
}


def quoted(random, word):
    quote = random.choice("'\"")
    for plain, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), (quote, "\\" + quote)):
        word = word.replace(plain, escaped)
    return quote + word + quote


class Generator:
    """One template."""

    def __init__(self, random):
        self.random, self.loops = random, 0

    def template(self):
        return "{%- set ns = namespace(n=0) -%}" * (self.random.random() < 0.8) + self.statements()

    def text(self):
        return quoted(self.random, self.random.choice(WORDS))

    def literal(self):
        random = self.random
        kind = random.randrange(14)
        if kind < 5:
            return self.text()
        if kind < 7:
            return str(random.choice([0, 1, 2, 3, 5, 10, -1, 7, 100]))
        if kind == 7:
            return str(random.choice([0.5, 1.0, 2.5, -3.25, 1e20, 1e-7, 0.1]))
        if kind == 8:
            return random.choice(["true", "false", "none", "True", "None"])
        if kind == 9:
            return "[" + ", ".join(self.expression(1) for _ in range(random.randrange(4))) + "]"
        if kind == 10:
            return "(" + ", ".join(self.expression(1) for _ in range(random.randrange(2, 4))) + ")"
        if kind == 11:
            return "{" + ", ".join(f"{quoted(random, random.choice('abk'))}: {self.expression(1)}" for _ in range(random.randrange(3))) + "}"
        return self.name()

    def name(self):
        return self.random.choice(NAMES + LOOP * 2 if self.loops else NAMES)

    def filled(self, pattern):
        pattern = pattern.replace("N", str(self.random.choice([0, 1, 2, 5, 12])))
        return pattern.replace("W", quoted(self.random, self.random.choice(["a", "b", ",", "<", "x", " ", "l", "\n"])))

    def expression(self, depth=0):
        random, inner = self.random, depth + 1
        if depth > 2 or random.random() < 0.4:
            return self.literal()
        kind = random.randrange(17)
        if kind < 3:
            return f"{self.expression(inner)} {random.choice(['~'] * 11 + ['+', '-', '*', '/', '//', '%', '**'])} {self.expression(inner)}"
        if kind == 3:
            return f"{self.expression(inner)} {random.choice(['==', '!='] * 3 + ['<', '>', '<=', '>=', 'in', 'not in'])} {self.expression(inner)}"
        if kind == 4:
            return f"{self.expression(inner)} {random.choice(['and', 'or'])} {self.expression(inner)}"
        if kind == 5:
            return f"not {self.expression(inner)}"
        if kind == 6:
            return f"({self.expression(inner)})"
        if kind == 7:
            otherwise = f" else {self.expression(inner)}" if random.random() < 0.8 else ""
            return f"({self.expression(inner)} if {self.expression(inner)}{otherwise})"
        if kind == 8:
            return f"{self.expression(inner)} is {random.choice(['', 'not '])}{random.choice(TESTS)}"
        if kind < 12:
            return f"{self.expression(inner)}{random.choice([' | ', '|'])}{self.filled(random.choice(FILTERS))}"
        if kind == 12:
            return self.name() + random.choice(ITEMS)
        if kind == 13:
            return f"{random.choice(SUBJECTS)}.{self.filled(random.choice(METHODS))}"
        if kind == 14:
            return f"range({', '.join(str(random.choice([0, 1, 2, 3, 5, -1])) for _ in range(random.randrange(1, 4)))})"
        if kind == 15:
            return random.choice(FORMATS)
        return self.literal()

    def statements(self, depth=0):
        return "".join(self.statement(depth) for _ in range(self.random.randrange(1, 4)))

    def tag(self, content):
        sign = lambda: self.random.choice(["", "", "", "-", "-", "+"])  # noqa: E731
        return f"{{%{sign()} {content} {sign()}%}}"

    def blanks(self):
        return self.random.choice(["", " ", "\n", "\n  ", "  \n\n", "text", "\t", "\r\n", " t \n"])

    def block(self, begin, depth, end):
        return self.tag(begin) + self.statements(depth) + self.tag(end)

    def statement(self, depth):
        return self.blanks() + self.inner_statement(depth) + self.blanks()

    def inner_statement(self, depth):
        random = self.random
        kind = random.randrange(20)
        if kind < 5 or depth > 3:
            return f"{{{{{random.choice(['', '-', ''])} {self.expression()} {random.choice(['', '-', ''])}}}}}"
        if kind < 7:
            return random.choice(["Hello", "<|im_start|>", "{ not }", "# x", "%", "}}", "é", "\ufeff"])
        if kind < 10:
            return self.loop(depth + 1)
        if kind < 13:
            text = self.tag(f"if {self.expression(1)}") + self.statements(depth + 1)
            if random.random() < 0.3:
                text += self.tag(f"elif {self.expression(1)}") + self.statements(depth + 1)
            if random.random() < 0.5:
                text += self.tag("else") + self.statements(depth + 1)
            return text + self.tag("endif")
        if kind < 15:
            return self.tag(f"set {random.choice(['x', 'y', 'ns.n', 'x', 'x, y'])} = {self.expression(1)}")
        if kind == 15:
            return self.block(f"set x{random.choice(['', ' | upper', ' | trim | title'])}", depth + 1, "endset")
        if kind == 16:
            return f"{{#{random.choice(['', '-', '+'])} comment {{{{ x }}}} {random.choice(['', '-', '+'])}#}}"
        if kind == 17:
            return self.macro(depth + 2)
        if kind == 18:
            filters = random.choice(["upper", "trim", "indent(2)", "replace('a','b')|lower"])
            return self.block(f"filter {filters}", depth + 1, "endfilter")
        return random.choice(
            [
                self.tag("raw") + " {{ x }}\n{% if %} " + self.tag("endraw"),
                self.tag(f"with z = {self.expression(2)}, x = 5") + "{{ z }}{{ x }}" + self.statements(depth + 1) + self.tag("endwith"),
                self.block("generation", depth + 1, "endgeneration"),
                self.block(f"block b{random.randrange(10**6)}", depth + 1, "endblock"),
            ]
        )

    def loop(self, depth):
        random = self.random
        pair = random.random() < 0.15
        over = random.choice(["d.items()", "d|dictsort", "[(1,2),(3,4)]"]) if pair else random.choice(
            ["messages", "nums", "words", "range(3)", "[]", "tools", "'abc'", "d", "messages[1:]", "words|reverse", "missing", self.expression(2)]
        )
        self.loops += 1
        body = self.statements(depth)
        if random.random() < 0.2:
            body += self.tag("if loop.index > 1") + self.tag(random.choice(["break", "continue"])) + self.tag("endif") + "after"
        condition = f" if {random.choice(['m', 'm != 2', 'm is defined'])}" if not pair and random.random() < 0.1 else ""
        self.loops -= 1
        otherwise = self.tag("else") + self.statements(depth) if random.random() < 0.2 else ""
        return self.tag(f"for {'k, v' if pair else 'm'} in {over}{condition}") + body + otherwise + self.tag("endfor")

    def macro(self, depth):
        random = self.random
        name = random.choice("fg")
        extra = random.choice(["", "{{ caller() if caller is defined }}", "{{ varargs }}{{ kwargs }}"])
        made = self.tag(f"macro {name}(p, q={self.literal()})") + "{{ p }}|{{ q }}" + self.statements(depth) + extra + self.tag("endmacro")
        return made + random.choice(
            [
                f"{{{{ {name}({self.expression(2)}) }}}}",
                f"{{{{ {name}({self.expression(2)}, q={self.expression(2)}) }}}}",
                self.block(f"call {name}(1)", depth, "endcall"),
                f"{{{{ {name}(1,2,3) }}}}",
                f"{{{{ {name}() }}}}",
                f"{{{{ {name}(z=1) }}}}",
                f"{{{{ {name}(*[1,2]) }}}}",
                f"{{{{ {name} }}}}",
            ]
        )
