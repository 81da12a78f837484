//! Tokens to a tree, by the grammar of `jinja2/parser.py`: statements. Expressions are in `expressions.rs`.

use std::collections::HashSet;
use std::rc::Rc;

use super::ast::{Expr, Loop, MacroNode, Node, Statement, Takes, Target};
use super::error::Error;
use super::lexer::{Spanned, Token, tokens};
use super::value::Value;

/// Brackets and blocks in one another beyond this are refused, before they exhaust the stack.
const MAX_DEPTH: usize = 60;

pub(super) struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
    loops: usize,
    blocks: HashSet<String>,
    /// Names that were read, for macros to know what they accept.
    pub(super) read: Takes,
}

/// Reads a template.
pub(super) fn parse(source: &str) -> Result<Vec<Node>, Error> {
    let mut parser =
        Parser { tokens: tokens(source)?, at: 0, depth: 0, loops: 0, blocks: HashSet::new(), read: Takes::default() };
    let nodes = parser.body(&[])?;
    match parser.peek() {
        None => Ok(nodes),
        Some(_) => parser.fault("unexpected end of a block"),
    }
}

impl Parser {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|spanned| &spanned.token)
    }

    pub(super) fn peek_next(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1).map(|spanned| &spanned.token)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|spanned| spanned.token.clone());
        self.at += 1;
        token
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |spanned| spanned.line)
    }

    pub(super) fn fault<T>(&self, what: impl Into<String>) -> Result<T, Error> {
        Err(Error::syntax(what, self.line()))
    }

    /// Calls `parse` one level deeper.
    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= MAX_DEPTH {
            return self.fault("the template is nested too deeply");
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    pub(super) fn is_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Token::Operator(found)) if *found == operator)
    }

    pub(super) fn skip_operator(&mut self, operator: &str) -> bool {
        let found = self.is_operator(operator);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_operator(&mut self, operator: &str) -> Result<(), Error> {
        if self.skip_operator(operator) { Ok(()) } else { self.fault(format!("`{operator}` is missing")) }
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn name(&mut self) -> Result<String, Error> {
        match self.next() {
            Some(Token::Name(name)) => Ok(name),
            _ => {
                self.at -= 1;
                self.fault("a name is missing")
            }
        }
    }

    fn block_end(&mut self) -> Result<(), Error> {
        match self.next() {
            Some(Token::BlockEnd) => Ok(()),
            _ => {
                self.at -= 1;
                self.fault("the tag does not end here")
            }
        }
    }

    /// Nodes up to a block that begins with one of these names, which is not taken.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Node>, Error> {
        self.deeper(|parser| {
            let mut nodes = Vec::new();
            loop {
                let line = parser.line();
                let statement = match parser.peek() {
                    None if ends.is_empty() => return Ok(nodes),
                    None => return parser.fault(format!("`{}` is missing", ends[0])),
                    Some(Token::Data(text)) => {
                        let data = Statement::Data(text.clone());
                        parser.at += 1;
                        data
                    }
                    Some(Token::VariableBegin) => {
                        parser.at += 1;
                        let value = parser.tuple(true, false, &[])?;
                        match parser.next() {
                            Some(Token::VariableEnd) => Statement::Print(value),
                            _ => {
                                parser.at -= 1;
                                return parser.fault("expected the end of the print statement");
                            }
                        }
                    }
                    Some(Token::BlockBegin) => {
                        if let Some(Token::Name(name)) = parser.peek_next()
                            && ends.contains(&name.as_str())
                        {
                            parser.at += 1;
                            return Ok(nodes);
                        }
                        parser.at += 1;
                        parser.statement()?
                    }
                    Some(_) => return parser.fault("unexpected token"),
                };
                nodes.push(Node { line, statement });
            }
        })
    }

    /// A body up to `end`, which is taken with its tag.
    fn body_to(&mut self, end: &str) -> Result<Vec<Node>, Error> {
        self.block_end()?;
        let body = self.body(&[end])?;
        self.at += 1;
        self.block_end()?;
        Ok(body)
    }

    fn statement(&mut self) -> Result<Statement, Error> {
        let name = self.name()?;
        match name.as_str() {
            "for" => self.for_loop(),
            "if" => self.condition(),
            "set" => self.set(),
            "macro" => self.macro_block(),
            "call" => self.call_block(),
            "filter" => {
                let filter = self.filters(None, true)?;
                let body = self.body_to("endfilter")?;
                match filter {
                    Some(filter) => Ok(Statement::FilterBlock(filter, body)),
                    None => self.fault("a filter is missing"),
                }
            }
            "with" => self.with_block(),
            "block" => self.named_block(),
            "print" => {
                let mut parts = Vec::new();
                while parts.is_empty() || self.skip_operator(",") {
                    parts.push(self.expression(true)?);
                }
                self.block_end()?;
                Ok(Statement::Print(Expr::Concat(parts)))
            }
            "generation" => Ok(Statement::Generation(self.body_to("endgeneration")?)),
            "break" | "continue" if self.loops == 0 => self.fault(format!("`{name}` outside of a loop")),
            "break" => self.block_end().map(|()| Statement::Break),
            "continue" => self.block_end().map(|()| Statement::Continue),
            "include" | "import" | "from" | "extends" => {
                self.fault(format!("`{name}` needs other files, which a chat template does not have"))
            }
            "autoescape" => self.fault("`autoescape` is not supported"),
            other => self.fault(format!("unknown tag `{other}`")),
        }
    }

    fn for_loop(&mut self) -> Result<Statement, Error> {
        let target = self.target(false, true, &["in"])?;
        if !self.skip_name("in") {
            return self.fault("`in` is missing");
        }
        let over = self.tuple(false, false, &["recursive"])?;
        let filter = if self.skip_name("if") { Some(self.expression(true)?) } else { None };
        let recursive = self.skip_name("recursive");
        self.block_end()?;
        self.loops += 1;
        let body = self.body(&["endfor", "else"])?;
        self.loops -= 1;
        let otherwise = match self.name()?.as_str() {
            "else" => {
                self.block_end()?;
                let otherwise = self.body(&["endfor"])?;
                self.at += 1;
                otherwise
            }
            _ => Vec::new(),
        };
        self.block_end()?;
        Ok(Statement::For(Rc::new(Loop { target, over, filter, recursive, body, otherwise })))
    }

    fn condition(&mut self) -> Result<Statement, Error> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false, false, &[])?;
            self.block_end()?;
            let body = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match self.name()?.as_str() {
                "elif" => {}
                "else" => {
                    self.block_end()?;
                    let otherwise = self.body(&["endif"])?;
                    self.at += 1;
                    self.block_end()?;
                    return Ok(Statement::If(branches, otherwise));
                }
                _ => {
                    self.block_end()?;
                    return Ok(Statement::If(branches, Vec::new()));
                }
            }
        }
    }

    fn set(&mut self) -> Result<Statement, Error> {
        let target = self.target(true, true, &[])?;
        if self.skip_operator("=") {
            let value = self.tuple(true, false, &[])?;
            self.block_end()?;
            return Ok(Statement::Set(target, value));
        }
        let filter = self.filters(None, false)?;
        let body = self.body_to("endset")?;
        Ok(Statement::SetBlock(target, filter, body))
    }

    /// `name=default, …)` after the opening bracket.
    fn parameters(&mut self) -> Result<Vec<(String, Option<Expr>)>, Error> {
        let mut parameters: Vec<(String, Option<Expr>)> = Vec::new();
        while !self.skip_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            let name = self.name()?;
            if ["true", "false", "none", "True", "False", "None"].contains(&name.as_str()) {
                return self.fault(format!("`{name}` cannot be assigned to"));
            }
            let default = if self.skip_operator("=") { Some(self.expression(true)?) } else { None };
            if default.is_none() && parameters.iter().any(|(_, default)| default.is_some()) {
                return self.fault("an argument without a default follows one with a default");
            }
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    /// A body, and which special names it reads.
    fn macro_body(&mut self, end: &str) -> Result<(Vec<Node>, Takes), Error> {
        let (before, loops) = (std::mem::take(&mut self.read), std::mem::take(&mut self.loops));
        let body = self.body_to(end)?;
        let takes = self.read;
        // What a macro in a macro reads, the outer one accepts as well.
        self.read.caller |= before.caller;
        self.read.varargs |= before.varargs;
        self.read.kwargs |= before.kwargs;
        self.loops = loops;
        Ok((body, takes))
    }

    fn macro_block(&mut self) -> Result<Statement, Error> {
        let name = self.name()?;
        self.expect_operator("(")?;
        let parameters = self.parameters()?;
        let (body, takes) = self.macro_body("endmacro")?;
        Ok(Statement::Macro(Rc::new(MacroNode { name: Some(name), parameters, body, takes })))
    }

    fn call_block(&mut self) -> Result<Statement, Error> {
        let parameters = if self.skip_operator("(") { self.parameters()? } else { Vec::new() };
        let call = self.expression(true)?;
        if !matches!(call, Expr::Call(..)) {
            return self.fault("`call` needs a call");
        }
        let (body, takes) = self.macro_body("endcall")?;
        Ok(Statement::Call(Rc::new(MacroNode { name: None, parameters, body, takes }), call))
    }

    fn with_block(&mut self) -> Result<Statement, Error> {
        let mut values = Vec::new();
        while !matches!(self.peek(), Some(Token::BlockEnd)) {
            if !values.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.target(false, true, &[])?;
            self.expect_operator("=")?;
            values.push((target, self.expression(true)?));
        }
        Ok(Statement::With(values, self.body_to("endwith")?))
    }

    fn named_block(&mut self) -> Result<Statement, Error> {
        let name = self.name()?;
        if !self.blocks.insert(name.clone()) {
            return self.fault(format!("block `{name}` is defined twice"));
        }
        if !matches!(self.peek(), Some(Token::BlockEnd)) {
            return self.fault("`scoped` and `required` blocks are not supported");
        }
        let loops = std::mem::take(&mut self.loops);
        self.block_end()?;
        let body = self.body(&["endblock"])?;
        self.loops = loops;
        self.at += 1;
        self.skip_name(&name);
        self.block_end()?;
        Ok(Statement::Block(name, Rc::new(body)))
    }

    /// Names to assign to, up to one of `ends`.
    fn target(&mut self, namespaces: bool, tuples: bool, ends: &[&str]) -> Result<Target, Error> {
        if namespaces && matches!(self.peek_next(), Some(Token::Operator("."))) {
            let name = self.name()?;
            self.at += 1;
            return Ok(Target::Attribute(name, self.name()?));
        }
        let parsed = match tuples {
            true => self.tuple(false, true, ends)?,
            false => self.primary()?,
        };
        self.assignable(parsed)
    }

    fn assignable(&self, parsed: Expr) -> Result<Target, Error> {
        match parsed {
            Expr::Name(name) => Ok(Target::Name(name)),
            Expr::Tuple(items) if !items.is_empty() => {
                items.into_iter().map(|item| self.assignable(item)).collect::<Result<_, _>>().map(Target::Tuple)
            }
            Expr::Const(Value::None | Value::Bool(_)) => self.fault("a constant cannot be assigned to"),
            _ => self.fault("this cannot be assigned to"),
        }
    }
}
