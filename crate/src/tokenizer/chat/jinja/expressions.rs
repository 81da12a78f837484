//! Expressions, by the grammar of `jinja2/parser.py`.

use super::ast::{Arguments, Comparison, Expr, Operator};
use super::error::Error;
use super::lexer::Token;
use super::parser::Parser;
use super::value::Value;

type Parsed = Result<Expr, Error>;

impl Parser {
    /// An expression; with `conditions`, `a if b else c` as well.
    pub(super) fn expression(&mut self, conditions: bool) -> Parsed {
        self.deeper(|parser| match conditions {
            true => parser.conditional(),
            false => parser.or(),
        })
    }

    fn conditional(&mut self) -> Parsed {
        let mut value = self.or()?;
        while self.skip_name("if") {
            let condition = self.or()?;
            let otherwise = if self.skip_name("else") { Some(Box::new(self.expression(true)?)) } else { None };
            value = Expr::If(Box::new(condition), Box::new(value), otherwise);
        }
        Ok(value)
    }

    fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        while self.skip_name("or") {
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.not()?;
        while self.skip_name("and") {
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed {
        match self.skip_name("not") {
            true => Ok(Expr::Not(Box::new(self.deeper(Self::not)?))),
            false => self.compare(),
        }
    }

    fn compare(&mut self) -> Parsed {
        let first = self.sum()?;
        let mut others = Vec::new();
        loop {
            let comparison = match self.peek() {
                Some(Token::Operator("==")) => Comparison::Equal,
                Some(Token::Operator("!=")) => Comparison::NotEqual,
                Some(Token::Operator("<")) => Comparison::Less,
                Some(Token::Operator("<=")) => Comparison::LessOrEqual,
                Some(Token::Operator(">")) => Comparison::Greater,
                Some(Token::Operator(">=")) => Comparison::GreaterOrEqual,
                Some(Token::Name(name)) if name == "in" => Comparison::In,
                Some(Token::Name(name))
                    if name == "not" && matches!(self.peek_next(), Some(Token::Name(next)) if next == "in") =>
                {
                    self.next();
                    Comparison::NotIn
                }
                _ => break,
            };
            self.next();
            others.push((comparison, self.sum()?));
        }
        Ok(if others.is_empty() { first } else { Expr::Compare(Box::new(first), others) })
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.concat()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Operator("+")) => Operator::Add,
                Some(Token::Operator("-")) => Operator::Subtract,
                _ => return Ok(left),
            };
            self.next();
            left = Expr::Binary(operator, Box::new(left), Box::new(self.concat()?));
        }
    }

    fn concat(&mut self) -> Parsed {
        let mut parts = vec![self.product()?];
        while self.skip_operator("~") {
            parts.push(self.product()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Concat(parts) })
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.power()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Operator("*")) => Operator::Multiply,
                Some(Token::Operator("/")) => Operator::Divide,
                Some(Token::Operator("//")) => Operator::FloorDivide,
                Some(Token::Operator("%")) => Operator::Modulo,
                _ => return Ok(left),
            };
            self.next();
            left = Expr::Binary(operator, Box::new(left), Box::new(self.power()?));
        }
    }

    fn power(&mut self) -> Parsed {
        let mut left = self.unary(true)?;
        while self.skip_operator("**") {
            left = Expr::Binary(Operator::Power, Box::new(left), Box::new(self.unary(true)?));
        }
        Ok(left)
    }

    fn unary(&mut self, filters: bool) -> Parsed {
        let value = if self.skip_operator("-") {
            Expr::Negate(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else if self.skip_operator("+") {
            Expr::Plus(Box::new(self.deeper(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if filters { self.filtered(value) } else { Ok(value) }
    }

    pub(super) fn primary(&mut self) -> Parsed {
        match self.next() {
            Some(Token::Name(name)) => Ok(match name.as_str() {
                "true" | "True" => Expr::Const(Value::Bool(true)),
                "false" | "False" => Expr::Const(Value::Bool(false)),
                "none" | "None" => Expr::Const(Value::None),
                _ => {
                    self.read.caller |= name == "caller";
                    self.read.varargs |= name == "varargs";
                    self.read.kwargs |= name == "kwargs";
                    Expr::Name(name)
                }
            }),
            Some(Token::Text(mut text)) => {
                while let Some(Token::Text(more)) = self.peek() {
                    text.push_str(&more.clone());
                    self.next();
                }
                Ok(Expr::Const(Value::from(text)))
            }
            Some(Token::Int(number)) => Ok(Expr::Const(Value::Int(number))),
            Some(Token::Float(number)) => Ok(Expr::Const(Value::Float(number))),
            Some(Token::Operator("(")) => {
                let value = self.deeper(|parser| parser.tuple(true, false, &["("]))?;
                self.expect_operator(")")?;
                Ok(value)
            }
            Some(Token::Operator("[")) => self.list(),
            Some(Token::Operator("{")) => self.dict(),
            _ => self.fault("an expression is missing"),
        }
    }

    fn list(&mut self) -> Parsed {
        let mut items = Vec::new();
        while !self.is_operator("]") {
            if !items.is_empty() {
                self.expect_operator(",")?;
            }
            if self.is_operator("]") {
                break;
            }
            items.push(self.expression(true)?);
        }
        self.expect_operator("]")?;
        Ok(Expr::List(items))
    }

    fn dict(&mut self) -> Parsed {
        let mut items = Vec::new();
        while !self.is_operator("}") {
            if !items.is_empty() {
                self.expect_operator(",")?;
            }
            if self.is_operator("}") {
                break;
            }
            let key = self.expression(true)?;
            self.expect_operator(":")?;
            items.push((key, self.expression(true)?));
        }
        self.expect_operator("}")?;
        Ok(Expr::Dict(items))
    }

    /// One expression, or several with commas. `ends` are names that end it; an opening bracket among them says that the
    /// tuple stands in brackets and may be empty.
    pub(super) fn tuple(&mut self, conditions: bool, simple: bool, ends: &[&str]) -> Parsed {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if !items.is_empty() {
                self.expect_operator(",")?;
            }
            let ended = match self.peek() {
                None | Some(Token::VariableEnd | Token::BlockEnd | Token::Operator(")")) => true,
                Some(Token::Name(name)) => ends.contains(&name.as_str()),
                _ => false,
            };
            if ended {
                break;
            }
            items.push(if simple { self.primary()? } else { self.expression(conditions)? });
            if !self.is_operator(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple {
            if let Some(only) = items.pop() {
                return Ok(only);
            }
            if !ends.contains(&"(") {
                return self.fault("an expression is missing");
            }
        }
        Ok(Expr::Tuple(items))
    }

    fn postfix(&mut self, mut value: Expr) -> Parsed {
        loop {
            value = match self.peek() {
                Some(Token::Operator("." | "[")) => self.subscript(value)?,
                Some(Token::Operator("(")) => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    fn filtered(&mut self, mut value: Expr) -> Parsed {
        loop {
            value = match self.peek() {
                Some(Token::Operator("|")) => match self.filters(Some(value), false)? {
                    Some(value) => value,
                    None => return self.fault("a filter is missing"),
                },
                Some(Token::Name(name)) if name == "is" => self.test(value)?,
                Some(Token::Operator("(")) => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    fn subscript(&mut self, value: Expr) -> Parsed {
        if self.skip_operator(".") {
            return match self.next() {
                Some(Token::Name(name)) => Ok(Expr::Attribute(Box::new(value), name)),
                Some(Token::Int(at)) => Ok(Expr::Item(Box::new(value), Box::new(Expr::Const(Value::Int(at))))),
                _ => self.fault("a name or a number is missing after the point"),
            };
        }
        self.expect_operator("[")?;
        let (mut items, mut slice) = (Vec::new(), None);
        while !self.is_operator("]") {
            if !items.is_empty() || slice.is_some() {
                self.expect_operator(",")?;
            }
            match self.subscribed()? {
                Ok(item) => items.push(item),
                Err(parts) => slice = Some(parts),
            }
        }
        self.expect_operator("]")?;
        match (slice, items.len()) {
            (Some(slice), 0) => Ok(Expr::Slice(Box::new(value), Box::new(slice))),
            (Some(_), _) => self.fault("slices in tuples are not supported"),
            (None, 1) => Ok(Expr::Item(Box::new(value), Box::new(items.remove(0)))),
            (None, _) => Ok(Expr::Item(Box::new(value), Box::new(Expr::Tuple(items)))),
        }
    }

    /// An index, or the parts of a slice.
    fn subscribed(&mut self) -> Result<Result<Expr, [Option<Expr>; 3]>, Error> {
        let mut parts: [Option<Expr>; 3] = [None, None, None];
        if !self.is_operator(":") {
            let first = self.expression(true)?;
            if !self.is_operator(":") {
                return Ok(Ok(first));
            }
            parts[0] = Some(first);
        }
        for place in [1, 2] {
            if !self.skip_operator(":") {
                break;
            }
            if !["]", ",", ":"].iter().any(|end| self.is_operator(end)) {
                parts[place] = Some(self.expression(true)?);
            }
        }
        Ok(Err(parts))
    }

    fn call(&mut self, value: Expr) -> Parsed {
        let arguments = self.arguments()?;
        Ok(Expr::Call(Box::new(value), arguments))
    }

    fn arguments(&mut self) -> Result<Arguments, Error> {
        self.expect_operator("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.is_operator(")") {
            if !first {
                self.expect_operator(",")?;
                if self.is_operator(")") {
                    break;
                }
            }
            first = false;
            let misplaced = |parser: &Self| parser.fault("arguments are in the wrong order");
            if self.skip_operator("*") {
                if arguments.sequence.is_some() || arguments.mapping.is_some() {
                    return misplaced(self);
                }
                arguments.sequence = Some(Box::new(self.expression(true)?));
            } else if self.skip_operator("**") {
                if arguments.mapping.is_some() {
                    return misplaced(self);
                }
                arguments.mapping = Some(Box::new(self.expression(true)?));
            } else if let (Some(Token::Name(name)), Some(Token::Operator("="))) = (self.peek(), self.peek_next()) {
                let name = name.clone();
                if arguments.mapping.is_some() {
                    return misplaced(self);
                }
                self.next();
                self.next();
                arguments.named.push((name, self.expression(true)?));
            } else {
                if arguments.sequence.is_some() || arguments.mapping.is_some() || !arguments.named.is_empty() {
                    return misplaced(self);
                }
                arguments.positional.push(self.expression(true)?);
            }
        }
        self.expect_operator(")")?;
        Ok(arguments)
    }

    fn dotted(&mut self) -> Result<String, Error> {
        let mut name = self.name()?;
        while self.skip_operator(".") {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name)
    }

    /// Filters in a row, from a `|` on, or with `inline` from the first name on.
    pub(super) fn filters(&mut self, value: Option<Expr>, inline: bool) -> Result<Option<Expr>, Error> {
        let (mut value, mut inline) = (value, inline);
        while inline || self.is_operator("|") {
            if !inline {
                self.next();
            }
            inline = false;
            let name = self.dotted()?;
            let arguments = if self.is_operator("(") { self.arguments()? } else { Arguments::default() };
            value = Some(Expr::Filter(value.map(Box::new), name, arguments));
        }
        Ok(value)
    }

    fn test(&mut self, value: Expr) -> Parsed {
        self.next();
        let negated = self.skip_name("not");
        let name = self.dotted()?;
        let begins = match self.peek() {
            Some(Token::Name(word)) if word == "is" => return self.fault("tests with `is` do not follow each other"),
            Some(Token::Name(word)) => !["else", "or", "and"].contains(&word.as_str()),
            Some(Token::Text(_) | Token::Int(_) | Token::Float(_) | Token::Operator("[" | "{")) => true,
            _ => false,
        };
        let arguments = if self.is_operator("(") {
            self.arguments()?
        } else if begins {
            let only = self.primary()?;
            Arguments { positional: vec![self.postfix(only)?], ..Arguments::default() }
        } else {
            Arguments::default()
        };
        let test = Expr::Test(Box::new(value), name, arguments);
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }
}
