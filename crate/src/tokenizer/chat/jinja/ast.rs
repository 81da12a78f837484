//! A template as a tree.

use std::rc::Rc;

use super::value::Value;

/// An expression.
#[derive(Debug)]
pub(super) enum Expr {
    Const(Value),
    Name(String),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Negate(Box<Expr>),
    Plus(Box<Expr>),
    Not(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// Condition, value, and the value otherwise.
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    Attribute(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Arguments),
    /// A filter without a value is one of a block.
    Filter(Option<Box<Expr>>, String, Arguments),
    Test(Box<Expr>, String, Arguments),
}

/// An operator of two numbers, texts or lists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

impl Operator {
    /// Returns how it is written.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::FloorDivide => "//",
            Self::Modulo => "%",
            Self::Power => "** or pow()",
        }
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

/// The arguments of a call, a filter or a test.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(String, Expr)>,
    /// `*args`
    pub(super) sequence: Option<Box<Expr>>,
    /// `**kwargs`
    pub(super) mapping: Option<Box<Expr>>,
}

/// What is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(String),
    Tuple(Vec<Target>),
    /// An attribute of a namespace.
    Attribute(String, String),
}

/// A statement with its line.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) statement: Statement,
}

/// A statement.
#[derive(Debug)]
pub(super) enum Statement {
    Data(String),
    Print(Expr),
    For(Rc<Loop>),
    If(Vec<(Expr, Vec<Node>)>, Vec<Node>),
    Set(Target, Expr),
    /// A block whose text is assigned, with the filters it goes through.
    SetBlock(Target, Option<Expr>, Vec<Node>),
    Macro(Rc<MacroNode>),
    /// A block that a macro gets as `caller`.
    Call(Rc<MacroNode>, Expr),
    FilterBlock(Expr, Vec<Node>),
    With(Vec<(Target, Expr)>, Vec<Node>),
    Block(String, Rc<Vec<Node>>),
    /// What an assistant says; a block with names of its own.
    Generation(Vec<Node>),
    Break,
    Continue,
}

/// `{% for %}`
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) target: Target,
    pub(super) over: Expr,
    pub(super) filter: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `{% macro %}` and the body of `{% call %}`.
#[derive(Debug)]
pub(in crate::tokenizer::chat) struct MacroNode {
    pub(super) name: Option<String>,
    pub(super) parameters: Vec<(String, Option<Expr>)>,
    pub(super) body: Vec<Node>,
    /// Whether the body reads `caller`, `varargs`, `kwargs`.
    pub(super) takes: Takes,
}

/// What else a macro accepts, by the names that its body reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Takes {
    pub(super) caller: bool,
    pub(super) varargs: bool,
    pub(super) kwargs: bool,
}
