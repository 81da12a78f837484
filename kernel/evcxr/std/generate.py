#!/usr/bin/env python3
"""Makes the description of the standard library that completion uses where rust-src is not installed.

    generate.py LIBRARY

LIBRARY is the folder `lib/rustlib/src/rust/library` that `rustup component add rust-src` installs. Of core, alloc and std, this
keeps what an analysis of types needs: items, signatures, associated types, the first paragraph of the documentation. Bodies of
functions, methods of trait implementations, what is unstable, and what is for one platform are left out.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
LEFT_OUT = {
    "core": "core_arch core_simd unicode contracts asserting os bstr num/bignum num/dec2flt/decimal num/dec2flt/decimal_seq num/dec2flt/lemire num/dec2flt/parse num/dec2flt/slow num/dec2flt/table num/dec2flt/fpu num/dec2flt/common num/dec2flt/float num/diy_float num/flt2dec num/libm num/int_log10 num/int_sqrt "
    "num/overflow_panic num/int_bits num/uint_macros_tests intrinsics/simd intrinsics/fallback intrinsics/mir slice/sort str/lossy panic/panic_info "
    "core_float_math fmt/float fmt/num fmt/num_buffer fmt/nofloat internal_macros va_list ffi/va_list",
    "alloc": "testing bstr slice/sort",
    "std": "sys os backtrace_rs rt panicking core_arch keyword_docs random bstr autodiff simd test_helpers io/impls net/test thread/spawnhook "
    "backtrace alloc_api sync/poison/once_tests collections/hash/map_tests pat process/tests",
}
# Of the crate that std's hash maps are made of: what is generic over a type that is not known gives types that are not known.
HASHBROWN = {
    "hash_map": "HashMap<K, V, S, A> Iter<'a, K, V> IterMut<'a, K, V> IntoIter<K, V, A> Drain<'a, K, V, A> ExtractIf<'a, K, V, F, A> "
    "RustcEntry<'a, K, V, A> RustcOccupiedEntry<'a, K, V, A> RustcVacantEntry<'a, K, V, A>",
    "hash_set": "HashSet<T, S, A> Iter<'a, T> IntoIter<T, A> Drain<'a, T, A> ExtractIf<'a, T, F, A> Entry<'a, T, S, A> "
    "OccupiedEntry<'a, T, S, A> VacantEntry<'a, T, S, A>",
}
KEPT_ATTRIBUTES = (
    "lang", "macro_export", "macro_use", "derive", "derive_const", "cfg", "cfg_attr", "default", "prelude_import", "fundamental", "non_exhaustive",
    "rustc_builtin_macro", "rustc_macro_transparency", "rustc_has_incoherent_inherent_impls", "rustc_allow_incoherent_impl", "rustc_skip_during_method_dispatch",
    "rustc_paren_sugar", "deprecated", "no_core", "no_std", "feature", "doc(hidden)", "repr", "path",
)
TOKEN = re.compile(
    r"""(?P<doc>///(?!/)[^\n]*|/\*\*(?!\*)(?:[^*]|\*(?!/))*\*/)|(?P<comment>//[^\n]*|/\*)|(?P<space>\s+)
    |(?P<text>(?:b|c)?"(?:[^"\\]|\\.)*"|(?:b|c)?r(?P<marks>\#*)".*?"(?P=marks)|b?'(?:[^'\\\n]|\\[^\n]+?)')
    |(?P<word>r\#\w+|'?\w+)|(?P<sign>=>|->|::|.)""",
    re.X | re.S,
)
CLOSING = {"(": ")", "[": "]", "{": "}"}


def tokens(text):
    """Words, signs, literals and documentation; other comments and blanks are gone."""
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        at = match.end()
        if match.lastgroup == "comment" and match[0] == "/*":
            depth = 1
            while depth:
                inner = re.compile(r"/\*|\*/").search(text, at)
                at, depth = inner.end(), depth + (1 if inner[0] == "/*" else -1)
        elif match.lastgroup not in ("space", "comment"):
            found.append(match[0])
    return found


def close(found, at):
    """The place after the bracket that closes the one at a place."""
    depth = 0
    while True:
        depth += (found[at] in CLOSING) - (found[at] in ")]}")
        at += 1
        if depth == 0:
            return at


def joined(found):
    text = ""
    for token in found:
        if token.startswith("//"):
            text += f"\n{token}\n"
            continue
        tight = not text or text[-1] in "([{<&!.:#'\n" or token in ")]}>,;.:?" or text.endswith("::") or token in ("(", "[", "!", "::", "<")
        if text and text[-1].isalnum() and (token[0].isalnum() or token[0] in "_'\"#&*"):
            tight = False
        if text.endswith((" =", ">", "=", "->", "+", ",", "?", "|")) or token in ("=", "->", "+", "=>", "|", "{", "&&", "*", "&"):
            tight = token in (",", ";", ")", ">", "?", ":", "::", "]", ".", "(") and not text.endswith(("=", "->", "+", "|", ","))
        if token.startswith("'") and text and text[-1] not in "<(&[{":
            tight = False
        text += token if tight else " " + token
    return text


def without_bodies(found):
    """The same with empty functions: for macros that make some."""
    out, at = [], 0
    while at < len(found):
        if found[at] == "fn" and at + 1 < len(found) and re.match(r"[\w$]", found[at + 1]):
            while at < len(found) and found[at] not in ("{", ";"):
                end = close(found, at) if found[at] in "([" else at + 1
                out += found[at:end]
                at = end
            if at < len(found) and found[at] == "{":
                out += ["{", "}"]
                at = close(found, at)
            continue
        if not found[at].startswith(("///", "/**")):
            out.append(found[at])
        at += 1
    return out


def plain_attributes(found):
    out, at = [], 0
    while at < len(found):
        if found[at] == "#" and at + 1 < len(found) and found[at + 1] == "[":
            end = close(found, at + 1)
            name = "".join(found[at + 2 : end - 1])
            if name.startswith(KEPT_ATTRIBUTES):
                out += found[at:end]
            at = end
            continue
        out.append(found[at])
        at += 1
    return out


def without_const_bounds(text):
    """The same without the bounds that only constant evaluation has."""
    text = re.sub(r" \+ Destruct\b", "", text.replace("[const] ", ""))
    text = re.sub(r"\b[\w:]+:Destruct\b,? ?", "", text)
    return re.sub(r" where ?,? ?(?=\{|;)", " ", text)


class Crate:
    def __init__(self, root, name):
        self.root, self.left_out = root / name / "src", {entry for entry in LEFT_OUT[name].split()}

    def module(self, file, path):
        return self.items(tokens(file.read_text()), path, "mod")

    def items(self, found, path, where):
        """Items in a module, an implementation, a trait or a block of foreign functions."""
        lines, at = [], 0
        while at < len(found):
            line, at = self.item(found, at, path, where)
            if line:
                lines.append(line)
        return "\n".join(lines)

    def item(self, found, at, path, where):
        documentation, attributes, names, begin = [], [], [], at
        while at < len(found) and (found[at].startswith(("///", "/**")) or found[at] == "#"):
            if found[at] != "#":
                documentation.append(found[at])
                at += 1
                continue
            start, at = at, close(found, at + (2 if found[at + 1] == "!" else 1))
            name = "".join(found[start:at]).lstrip("#!").removeprefix("[")
            names.append(name)
            if name.startswith(KEPT_ATTRIBUTES):
                attributes.append(joined(found[start:at]))
        if at >= len(found):
            return "\n".join(attributes), at
        start = at
        public = found[at] == "pub" and (at + 1 >= len(found) or found[at + 1] != "(")
        while found[at] in ("pub", "unsafe", "async", "default", "auto", "safe") or found[at] == "extern" and found[at + 1].startswith('"') \
                or found[at] == "const" and found[at + 1] in ("fn", "unsafe", "async", "extern", "trait", "impl"):
            at += 1
            if found[at] == "(" and found[at - 1] == "pub":
                at = close(found, at)
            if found[at - 1] == "extern":
                at += 1
        kind = found[at]
        if kind == "{":
            kind = "extern"
        end, group = self.end(found, at, kind)
        head = "\n".join(self.first_paragraph(documentation) + attributes)
        head += "\n" if head else ""
        if any(re.match(r"cfg\((test|bootstrap)\)", name) for name in names):
            return "", end
        unstable = any(name.startswith("unstable") for name in names)
        if kind == "fn":
            body = "{}" if group else ";"
            # Macros call functions that are not stable.
            hidden = where == "impl" and not public or where == "trait impl" \
                or unstable and (where != "mod" or path.startswith("intrinsics")) and not (where == "trait" and path.startswith("ops"))
            keep = not hidden and (public or where in ("trait", "foreign"))
            keep |= "#[lang" in head
            return (head + joined(plain_attributes(found[start : group or end - 1])) + body if keep else ""), end
        if kind in ("const", "static") and where == "impl" and (not public or unstable):
            return "", end
        if kind == "mod":
            name = found[at + 1].removeprefix("r#")
            inner = f"{path}/{name}" if path else name
            if inner in self.left_out or name in ("tests", "test", "testing", "benches"):
                return "", end
            if group:
                text = self.items(found[group + 1 : end - 1], inner, "mod")
            else:
                named = [name.split('"')[1] for name in names if name.startswith("path=")]
                files = [self.root / name for name in named] or [self.root / f"{inner}.rs", self.root / inner / "mod.rs"]
                attributes = [attribute for attribute in attributes if "path" not in attribute]
                head = "\n".join(self.first_paragraph(documentation) + attributes) + "\n"
                if not any(file.is_file() for file in files):
                    return "", end
                text = self.module(next(file for file in files if file.is_file()), inner)
            declared = joined(found[start:at]) + (" " if at > start else "")
            return f"{head}{declared}mod {found[at + 1]} {{\n{text}\n}}", end
        if kind in ("impl", "trait", "extern") and group:
            header = found[start:group]
            inside = {"trait": "trait", "extern": "foreign"}.get(kind) or ("trait impl" if is_of_trait(header) else "impl")
            if inside == "trait impl" and any(word in header for word in ("TrustedLen", "TrustedStep", "TrustedFused", "InPlaceIterable", "SourceIter", "UnwindSafe")):
                return "", end
            text = self.items(found[group + 1 : end - 1], path, inside)
            if inside == "impl" and not text.strip():
                return "", end
            return head + joined(plain_attributes(header)) + " {" + (f"\n{text}\n" if text else "") + "}", end
        if kind in ("macro_rules", "macro"):
            return head + joined(without_bodies(found[start:end])), end
        return head + joined([token for token in plain_attributes(found[start:end]) if not token.startswith(("///", "/**"))]), end

    @staticmethod
    def end(found, at, kind):
        """Where an item ends, and where its braces begin if it has such."""
        ends_with_braces = kind in ("fn", "mod", "impl", "trait", "struct", "enum", "union", "extern", "macro_rules", "macro") \
            or at + 1 < len(found) and found[at + 1] == "!" or at + 3 < len(found) and found[at + 3] == "!"
        while at < len(found):
            if found[at] == ";":
                return at + 1, None
            if found[at] == "{" and ends_with_braces:
                return close(found, at), at
            at = close(found, at) if found[at] in CLOSING else at + 1
        return at, None

    @staticmethod
    def first_paragraph(documentation):
        lines = []
        for line in documentation:
            line = line.removeprefix("///").strip()
            if not line or line.startswith(("#", "/**", "```")):
                break
            lines.append(line)
        return [f"/// {line}" for line in lines]


def is_of_trait(header):
    depth = 0
    for before, token in zip([""] + header, header):
        depth += (token == "<") - (token == ">")
        if token == "where" and depth == 0:
            return False
        if token == "for" and depth == 0 and before != "":
            return True
    return False


def hashbrown():
    text = "mod hashbrown {\n"
    for module, types in HASHBROWN.items():
        text += f"pub mod {module} {{\n"
        for name in re.findall(r"\w+<[^>]*>", types):
            parameters = name[name.index("<") + 1 : -1].split(", ")
            held = ", ".join(f"&{parameter} ()" if parameter.startswith("'") else parameter for parameter in parameters)
            text += f"pub struct {name}({held});\n"
        text += "}\n"
    return text + "}\n"


def main():
    library = pathlib.Path(sys.argv[1])
    for name in ("core", "alloc", "std"):
        crate = Crate(library, name)
        text = crate.module(crate.root / "lib.rs", "")
        text = re.sub(r"\n{2,}", "\n", text)
        text = without_const_bounds(text)
        if name == "std":
            text = text.replace("use hashbrown::", "use crate::hashbrown::") + "\n" + hashbrown()
        (HERE / f"{name}.txt").write_text(text.strip() + "\n")


main()
