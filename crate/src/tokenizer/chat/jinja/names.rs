//! What Jinja checks before it runs a template: that filters and tests exist. It also finds the blocks.

use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{Arguments, Expr, Node, Statement};
use super::error::Error;
use super::{filters, tests};

type Blocks = HashMap<String, Rc<Vec<Node>>>;

/// Returns the blocks of a template.
///
/// # Errors
/// For a filter or test that does not exist, unless it stands in a branch: Jinja misses it only when that is taken.
pub(super) fn check(nodes: &[Node]) -> Result<Blocks, Error> {
    let mut blocks = Blocks::new();
    Checker { blocks: &mut blocks, line: 1 }.nodes(nodes, false)?;
    Ok(blocks)
}

struct Checker<'a> {
    blocks: &'a mut Blocks,
    line: usize,
}

impl Checker<'_> {
    fn nodes(&mut self, nodes: &[Node], soft: bool) -> Result<(), Error> {
        for node in nodes {
            self.line = node.line;
            match &node.statement {
                Statement::Data(_) | Statement::Break | Statement::Continue => {}
                Statement::Print(value) | Statement::Set(_, value) => self.expr(value, soft)?,
                Statement::For(node) => {
                    self.expr(&node.over, soft)?;
                    node.filter.iter().try_for_each(|filter| self.expr(filter, false))?;
                    self.nodes(&node.body, false)?;
                    self.nodes(&node.otherwise, false)?;
                }
                Statement::If(branches, otherwise) => {
                    for (condition, body) in branches {
                        self.expr(condition, true)?;
                        self.nodes(body, true)?;
                    }
                    self.nodes(otherwise, true)?;
                }
                Statement::SetBlock(_, filter, body) => {
                    filter.iter().try_for_each(|filter| self.expr(filter, false))?;
                    self.nodes(body, false)?;
                }
                Statement::Macro(node) => self.nodes(&node.body, false)?,
                Statement::Call(node, call) => {
                    self.expr(call, soft)?;
                    self.nodes(&node.body, false)?;
                }
                Statement::FilterBlock(filter, body) => {
                    self.expr(filter, false)?;
                    self.nodes(body, false)?;
                }
                Statement::With(values, body) => {
                    values.iter().try_for_each(|(_, value)| self.expr(value, false))?;
                    self.nodes(body, false)?;
                }
                Statement::Block(name, body) => {
                    self.blocks.insert(name.clone(), Rc::clone(body));
                    self.nodes(body, false)?;
                }
                Statement::Generation(body) => self.nodes(body, false)?,
            }
        }
        Ok(())
    }

    fn exprs<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>, soft: bool) -> Result<(), Error> {
        exprs.into_iter().try_for_each(|expr| self.expr(expr, soft))
    }

    fn arguments(&self, arguments: &Arguments, soft: bool) -> Result<(), Error> {
        self.exprs(&arguments.positional, soft)?;
        self.exprs(arguments.named.iter().map(|(_, value)| value), soft)?;
        self.exprs(arguments.sequence.as_deref(), soft)?;
        self.exprs(arguments.mapping.as_deref(), soft)
    }

    fn expr(&self, expr: &Expr, soft: bool) -> Result<(), Error> {
        let unknown = |what: &str, name: &str| Err(Error::syntax(format!("No {what} named '{name}'."), self.line));
        match expr {
            Expr::Const(_) | Expr::Name(_) => Ok(()),
            Expr::List(items) | Expr::Tuple(items) | Expr::Concat(items) => self.exprs(items, soft),
            Expr::Dict(items) => items.iter().try_for_each(|(key, value)| self.exprs([key, value], soft)),
            Expr::Negate(value) | Expr::Plus(value) | Expr::Not(value) | Expr::Attribute(value, _) => {
                self.expr(value, soft)
            }
            Expr::Binary(_, left, right) | Expr::And(left, right) | Expr::Or(left, right) | Expr::Item(left, right) => {
                self.exprs([&**left, &**right], soft)
            }
            Expr::Compare(first, others) => {
                self.expr(first, soft)?;
                self.exprs(others.iter().map(|(_, other)| other), soft)
            }
            Expr::If(condition, value, otherwise) => {
                self.exprs([&**condition, &**value], true)?;
                self.exprs(otherwise.as_deref(), true)
            }
            Expr::Slice(value, parts) => {
                self.expr(value, soft)?;
                self.exprs(parts.iter().flatten(), soft)
            }
            Expr::Call(callee, arguments) => {
                self.expr(callee, soft)?;
                self.arguments(arguments, soft)
            }
            Expr::Filter(value, name, arguments) => {
                if !soft && !filters::NAMES.contains(&name.as_str()) {
                    return unknown("filter", name);
                }
                self.exprs(value.as_deref(), soft)?;
                self.arguments(arguments, soft)
            }
            Expr::Test(value, name, arguments) => {
                if !soft && !tests::NAMES.contains(&name.as_str()) {
                    return unknown("test", name);
                }
                self.expr(value, soft)?;
                self.arguments(arguments, soft)
            }
        }
    }
}
