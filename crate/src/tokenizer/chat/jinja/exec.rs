//! Runs statements, which write text.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::{Expr, Loop, MacroNode, Node, Statement, Target};
use super::error::{Outcome, fail};
use super::eval::{Called, Interpreter};
use super::scope::Scope;
use super::text::str_of;
use super::value::{LoopState, Object, Value};

/// Levels of loops that call themselves.
const MAX_RECURSION: usize = 60;

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl Interpreter {
    /// Renders nodes into a text.
    pub(super) fn text_of(&mut self, nodes: &[Node], scope: &Scope) -> Outcome<String> {
        let mut out = String::new();
        self.run(nodes, scope, &mut out)?;
        Ok(out)
    }

    fn run(&mut self, nodes: &[Node], scope: &Scope, out: &mut String) -> Outcome<Flow> {
        for node in nodes {
            self.line = node.line;
            let flow = self.statement(&node.statement, scope, out).map_err(|mut error| {
                if error.line == 0 {
                    error.line = node.line;
                }
                error
            })?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &str, out: &mut String) -> Outcome<()> {
        self.step(text.len())?;
        out.push_str(text);
        Ok(())
    }

    fn statement(&mut self, statement: &Statement, scope: &Scope, out: &mut String) -> Outcome<Flow> {
        match statement {
            Statement::Data(text) => self.write(text, out)?,
            Statement::Print(value) => {
                let text = str_of(&self.eval(value, scope)?)?;
                self.write(&text, out)?;
            }
            Statement::For(node) => self.for_loop(node, scope, out)?,
            Statement::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.eval(condition, scope)?.truth() {
                        return self.run(body, scope, out);
                    }
                }
                return self.run(otherwise, scope, out);
            }
            Statement::Set(target, value) => {
                let value = self.eval(value, scope)?;
                self.assign(target, value, scope)?;
            }
            Statement::SetBlock(target, filter, body) => {
                let text = self.text_of(body, &scope.inner())?;
                let value = match filter {
                    Some(filter) => self.filter_block(filter, text, scope)?,
                    None => text.into(),
                };
                self.assign(target, value, scope)?;
            }
            Statement::Macro(node) => {
                let made = Value::object(Object::Macro(Rc::clone(node), scope.clone()));
                scope.set(node.name.as_deref().unwrap_or_default(), made);
            }
            Statement::Call(node, call) => {
                let Expr::Call(callee, arguments) = call else { return fail("`call` needs a call") };
                let callee = self.eval(callee, scope)?;
                let mut called = self.arguments(arguments, scope)?;
                let caller = Value::object(Object::Macro(Rc::clone(node), scope.clone()));
                called.named.push(("caller".to_owned(), caller));
                let text = str_of(&self.call(&callee, called)?)?;
                self.write(&text, out)?;
            }
            Statement::FilterBlock(filter, body) => {
                let text = self.text_of(body, &scope.inner())?;
                let value = self.filter_block(filter, text, scope)?;
                let text = str_of(&value)?;
                self.write(&text, out)?;
            }
            Statement::With(values, body) => {
                let inner = scope.inner();
                for (target, value) in values {
                    // The values do not see one another.
                    let value = self.eval(value, scope)?;
                    self.assign(target, value, &inner)?;
                }
                return self.run(body, &inner, out);
            }
            Statement::Block(name, body) => {
                self.blocks.insert(name.clone(), Rc::clone(body));
                let text = self.call_block(name)?;
                let text = str_of(&text)?;
                self.write(&text, out)?;
            }
            Statement::Generation(body) => {
                let text = self.text_of(body, &scope.inner())?;
                out.extend(self.marks.then_some(super::MARKS[0]));
                self.write(&text, out)?;
                out.extend(self.marks.then_some(super::MARKS[1]));
            }
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// Applies the filters of a block, the innermost of which has no value of its own.
    fn filter_block(&mut self, filter: &Expr, text: String, scope: &Scope) -> Outcome<Value> {
        let Expr::Filter(value, name, arguments) = filter else { return fail("a filter is missing") };
        let value = match value {
            Some(inner) => self.filter_block(inner, text, scope)?,
            None => text.into(),
        };
        let called = self.arguments(arguments, scope)?;
        self.filter(name, value, called)
    }

    pub(super) fn assign(&mut self, target: &Target, value: Value, scope: &Scope) -> Outcome<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Tuple(targets) => {
                let values = value.items()?;
                if values.len() != targets.len() {
                    return fail(match values.len() > targets.len() {
                        true => format!("too many values to unpack (expected {})", targets.len()),
                        false => {
                            format!("not enough values to unpack (expected {}, got {})", targets.len(), values.len())
                        }
                    });
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value, scope)?;
                }
            }
            Target::Attribute(name, attribute) => match scope.get(name) {
                Some(Value::Namespace(names)) => {
                    if attribute.starts_with('_') {
                        return fail(format!("attributes of a namespace cannot begin with an underscore: {attribute}"));
                    }
                    let mut names = names.borrow_mut();
                    match names.iter_mut().find(|(own, _)| own == attribute) {
                        Some((_, old)) => *old = value,
                        None => names.push((attribute.clone(), value)),
                    }
                }
                _ => return fail("cannot assign attribute on non-namespace object"),
            },
        }
        Ok(())
    }

    fn for_loop(&mut self, node: &Rc<Loop>, scope: &Scope, out: &mut String) -> Outcome<()> {
        let over = self.eval(&node.over, scope)?;
        self.deeper(|interpreter| interpreter.loop_over(node, &over, 1, scope, out))
    }

    fn loop_over(
        &mut self,
        node: &Rc<Loop>,
        over: &Value,
        depth: usize,
        scope: &Scope,
        out: &mut String,
    ) -> Outcome<()> {
        let mut items = over.items()?;
        self.step(items.len() * 16)?;
        if let Some(filter) = &node.filter {
            let mut kept = Vec::new();
            for item in items {
                let inner = scope.inner();
                self.assign(&node.target, item.clone(), &inner)?;
                if self.eval(filter, &inner)?.truth() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            self.run(&node.otherwise, &scope.inner(), out)?;
            return Ok(());
        }
        let items = Rc::new(items);
        let recursive = node.recursive.then(|| (Rc::clone(node), scope.clone()));
        let state = LoopState { items: Rc::clone(&items), at: 0, depth, last_changed: None, recursive };
        let object = Rc::new(Object::Loop(RefCell::new(state)));
        for (at, item) in items.iter().enumerate() {
            self.step(0)?;
            if let Object::Loop(state) = &*object {
                state.borrow_mut().at = at;
            }
            let inner = scope.inner();
            inner.set("loop", Value::Object(Rc::clone(&object)));
            self.assign(&node.target, item.clone(), &inner)?;
            if self.run(&node.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// `loop(children)`
    pub(super) fn recurse(&mut self, state: &RefCell<LoopState>, called: Called) -> Outcome<Value> {
        let (recursive, depth) = {
            let state = state.borrow();
            (state.recursive.clone(), state.depth)
        };
        let Some((node, scope)) = recursive else {
            return fail("The loop must have the 'recursive' marker to be called recursively.");
        };
        if depth >= MAX_RECURSION {
            return fail("maximum recursion depth exceeded");
        }
        let [over] = called.bind(["iterable"], 1)?;
        let mut out = String::new();
        self.loop_over(&node, &over.unwrap_or(Value::None), depth + 1, &scope, &mut out)?;
        Ok(out.into())
    }

    /// Renders a block: it sees the template's own names, and not those of loops around it.
    pub(super) fn call_block(&mut self, name: &str) -> Outcome<Value> {
        let Some(body) = self.blocks.get(name).cloned() else { return fail(format!("block '{name}' not found")) };
        let Some(top) = self.top.clone() else { return fail("a block has no template") };
        self.deeper(|interpreter| Ok(interpreter.text_of(&body, &top.inner())?.into()))
    }

    pub(super) fn call_macro(&mut self, node: &Rc<MacroNode>, scope: &Scope, called: Called) -> Outcome<Value> {
        let Called { positional, named } = called;
        let inner = scope.inner();
        let (mut caller, mut kwargs) = (None, Vec::new());
        let mut values: Vec<Option<Value>> = vec![None; node.parameters.len()];
        let mut varargs = Vec::new();
        for (place, value) in positional.into_iter().enumerate() {
            match values.get_mut(place) {
                Some(slot) => *slot = Some(value),
                None => varargs.push(value),
            }
        }
        for (name, value) in named {
            match node.parameters.iter().position(|(parameter, _)| *parameter == name) {
                Some(place) if values[place].is_some() => {
                    return fail(format!("macro got multiple values for argument '{name}'"));
                }
                Some(place) => values[place] = Some(value),
                None if name == "caller" && node.takes.caller => caller = Some(value),
                None => kwargs.push((name, value)),
            }
        }
        let name = node.name.as_deref().unwrap_or("anonymous");
        if !kwargs.is_empty() && !node.takes.kwargs {
            return fail(match kwargs[0].0.as_str() {
                "caller" => format!("macro '{name}' was invoked with two values for the special caller argument"),
                other => format!("macro '{name}' takes no keyword argument '{other}'"),
            });
        }
        if !varargs.is_empty() && !node.takes.varargs {
            return fail(format!("macro '{name}' takes not more than {} argument(s)", node.parameters.len()));
        }
        for ((parameter, default), value) in node.parameters.iter().zip(values) {
            let value = match (value, default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default, &inner)?,
                (None, None) => Value::undefined(format!("parameter '{parameter}' was not provided")),
            };
            inner.set(parameter, value);
        }
        if node.takes.caller && (node.name.is_some() || caller.is_some()) {
            inner.set("caller", caller.unwrap_or_else(|| Value::undefined("No caller defined")));
        }
        if node.takes.varargs {
            inner.set("varargs", Value::tuple(varargs));
        }
        if node.takes.kwargs {
            let kwargs = kwargs.into_iter().map(|(name, value)| (name.into(), value)).collect();
            inner.set("kwargs", Value::Dict(Rc::new(super::value::Dict::of(kwargs))));
        }
        Ok(self.text_of(&node.body, &inner)?.into())
    }
}
