//! An interpreter of pickles that builds a value and calls nothing: a call that the file asks for is only recorded.
//!
//! Opcodes: CPython's `pickletools`, protocols 0 to 4 as far as torch and its users write them.

use std::collections::HashMap;

/// A value's place in the [`Pickle`].
pub(in crate::checkpoint) type Id = usize;

/// A pickle of more values is refused: a model of a million tensors has fewer.
const MAX_NODES: usize = 20_000_000;

/// One value.
#[derive(Debug)]
pub(in crate::checkpoint) enum Node {
    /// `None`, bytes, floats and everything else that does not describe tensors.
    Other,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Tuples, lists and sets.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by its dotted name, not looked up.
    Global(String),
    /// A call that the file asks for, with its arguments; it is not made.
    Call {
        callable: Id,
        args: Id,
    },
    /// A storage as the file describes it.
    Storage(Id),
}

/// All values of a pickle. They lie flat, so that no depth of nesting exhausts the stack.
#[derive(Debug, Default)]
pub(in crate::checkpoint) struct Pickle {
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        if count > self.0.len() as u64 {
            return Err("its pickle ends early".to_owned());
        }
        let (taken, rest) = self.0.split_at(count as usize);
        self.0 = rest;
        Ok(taken)
    }

    /// Returns an unsigned little-endian number of up to eight bytes.
    fn number(&mut self, bytes: u64) -> Result<u64, String> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length: u64) -> Result<String, String> {
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| "its pickle holds text that is not UTF-8".to_owned())
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or("its pickle ends early")?;
        let line = self.text(end as u64)?;
        self.take(1)?;
        Ok(line.trim_end_matches('\r').to_owned())
    }
}

impl Pickle {
    /// Reads a pickle; gives all its values and the one it stands for.
    pub(in crate::checkpoint) fn read(bytes: &[u8]) -> Result<(Self, Id), String> {
        let (pickle, root, _) = Self::read_first(bytes)?;
        Ok((pickle, root))
    }

    /// As [`read`](Self::read), where more may follow: gives the pickle's length as well.
    pub(in crate::checkpoint) fn read_first(bytes: &[u8]) -> Result<(Self, Id, usize), String> {
        let mut pickle = Self::default();
        let mut input = Input(bytes);
        loop {
            let [opcode] = *input.take(1)? else { return Err("its pickle ends early".to_owned()) };
            if opcode == b'.' {
                let root = pickle.pop()?;
                return Ok((pickle, root, bytes.len() - input.0.len()));
            }
            pickle.step(opcode, &mut input)?;
        }
    }

    pub(in crate::checkpoint) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    pub(in crate::checkpoint) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::Other)
    }

    fn step(&mut self, opcode: u8, input: &mut Input<'_>) -> Result<(), String> {
        match opcode {
            0x80 => drop(input.take(1)?),
            0x95 => drop(input.take(8)?),
            b'N' => self.push(Node::Other)?,
            b'G' => {
                input.take(8)?;
                self.push(Node::Other)?;
            }
            0x88 | 0x89 => self.push(Node::Bool(opcode == 0x88))?,
            b'K' => self.integer(input, 1)?,
            b'M' => self.integer(input, 2)?,
            b'J' => {
                let number = input.number(4)? as u32;
                self.push(Node::Int(i64::from(number.cast_signed())))?;
            }
            0x8a => {
                let length = input.number(1)?;
                self.long(input.take(length)?)?;
            }
            0x8b => {
                let length = input.number(4)?;
                self.long(input.take(length)?)?;
            }
            b'X' => self.text(input, 4)?,
            0x8c => self.text(input, 1)?,
            0x8d => self.text(input, 8)?,
            b'U' | b'C' => self.skipped(input, 1)?,
            b'T' | b'B' => self.skipped(input, 4)?,
            0x8e => self.skipped(input, 8)?,
            b'(' => self.marks.push(self.stack.len()),
            b')' | b']' | 0x8f => self.push(Node::Sequence(Vec::new()))?,
            b't' | b'l' | 0x91 => {
                let items = self.marked()?;
                self.push(Node::Sequence(items))?;
            }
            0x85..=0x87 => {
                let at = self.stack.len().checked_sub(usize::from(opcode - 0x84)).ok_or("its pickle is malformed")?;
                let items = self.stack.split_off(at);
                self.push(Node::Sequence(items))?;
            }
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b'd' => {
                let items = self.marked()?;
                self.push(Node::Dict(pairs(&items)?))?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.insert(pairs(&items)?)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.extend(items)?;
            }
            b'c' => {
                let (module, name) = (input.line()?, input.line()?);
                self.push(Node::Global(format!("{module}.{name}")))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(name), Node::Text(module)) = (self.node(name), self.node(module)) else {
                    return Err("its pickle is malformed".to_owned());
                };
                let global = format!("{module}.{name}");
                self.push(Node::Global(global))?;
            }
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                self.call(callable, args)?;
            }
            0x92 => {
                let (_, args, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(callable, args)?;
            }
            // The attributes of an object, such as `_metadata` of a state dict: no tensor is among them.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                self.push(Node::Storage(id))?;
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'q' => self.remember(input.number(1)?)?,
            b'r' => self.remember(input.number(4)?)?,
            0x94 => self.remember(self.memo.len() as u64)?,
            b'h' => self.recall(input.number(1)?)?,
            b'j' => self.recall(input.number(4)?)?,
            other => return Err(format!("its pickle uses opcode 0x{other:02x}, which is not supported")),
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), String> {
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("its pickle holds more than {MAX_NODES} values"));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn integer(&mut self, input: &mut Input<'_>, bytes: u64) -> Result<(), String> {
        let number = input.number(bytes)?;
        self.push(Node::Int(number.cast_signed()))
    }

    /// A signed number of any length; tensors do not use numbers beyond 64 bits.
    fn long(&mut self, bytes: &[u8]) -> Result<(), String> {
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let fill = if negative { u8::MAX } else { 0 };
        let (low, high) = bytes.split_at(bytes.len().min(8));
        if high.iter().any(|byte| *byte != fill) {
            return self.push(Node::Other);
        }
        let mut raw = [fill; 8];
        raw[..low.len()].copy_from_slice(low);
        self.push(Node::Int(i64::from_le_bytes(raw)))
    }

    fn text(&mut self, input: &mut Input<'_>, bytes: u64) -> Result<(), String> {
        let length = input.number(bytes)?;
        let text = input.text(length)?;
        self.push(Node::Text(text))
    }

    fn skipped(&mut self, input: &mut Input<'_>, bytes: u64) -> Result<(), String> {
        let length = input.number(bytes)?;
        input.take(length)?;
        self.push(Node::Other)
    }

    fn pop(&mut self) -> Result<Id, String> {
        if self.marks.last().is_some_and(|mark| *mark >= self.stack.len()) {
            return Err("its pickle is malformed".to_owned());
        }
        self.stack.pop().ok_or_else(|| "its pickle is malformed".to_owned())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "its pickle is malformed".to_owned())
    }

    fn marked(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or("its pickle is malformed")?;
        Ok(self.stack.split_off(mark))
    }

    fn insert(&mut self, mut entries: Vec<(Id, Id)>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(dict) => dict.append(&mut entries),
            // An object with items: its contents are unknown, and so is the object.
            Node::Call { .. } => {}
            _ => return Err("its pickle is malformed".to_owned()),
        }
        Ok(())
    }

    fn extend(&mut self, mut items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Sequence(sequence) => sequence.append(&mut items),
            Node::Call { .. } => {}
            _ => return Err("its pickle is malformed".to_owned()),
        }
        Ok(())
    }

    /// Notes a call. The dictionaries of `collections` become dictionaries.
    fn call(&mut self, callable: Id, args: Id) -> Result<(), String> {
        let dictionary = matches!(self.node(callable), Node::Global(name)
            if name == "collections.OrderedDict" || name == "collections.defaultdict");
        if !dictionary {
            return self.push(Node::Call { callable, args });
        }
        // Python 2 gave an ordered dictionary its items as an argument.
        let mut entries = Vec::new();
        if let Node::Sequence(args) = self.node(args)
            && let Some(Node::Sequence(items)) = args.first().map(|id| self.node(*id))
        {
            for item in items {
                let Node::Sequence(pair) = self.node(*item) else { return Err("its pickle is malformed".to_owned()) };
                entries.append(&mut pairs(pair)?);
            }
        }
        self.push(Node::Dict(entries))
    }

    fn remember(&mut self, place: u64) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<(), String> {
        let id = *self.memo.get(&place).ok_or("its pickle is malformed")?;
        self.stack.push(id);
        Ok(())
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    if !items.len().is_multiple_of(2) {
        return Err("its pickle is malformed".to_owned());
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memoised_dictionary_is_one_value_wherever_it_stands() {
        // ({}, it) with the dictionary filled after it was remembered: both places see the item.
        let (pickle, root) = Pickle::read(b"\x80\x02}q\x00K\x01K\x02sh\x00\x86.").unwrap();
        let Node::Sequence(items) = pickle.node(root) else { panic!("{pickle:?}") };
        assert_eq!(items[0], items[1]);
        assert!(matches!(pickle.node(items[1]), Node::Dict(entries) if entries.len() == 1));
    }

    #[test]
    fn numbers_keep_their_sign_and_width() {
        for (bytes, expected) in [
            (&b"J\xff\xff\xff\xff."[..], -1),
            (b"\x8a\x01\x80.", -128),
            (b"\x8a\x09\x00\x00\x00\x00\x01\x00\x00\x00\x00.", 1 << 32),
            (b"M\xff\xff.", 65535),
        ] {
            let (pickle, root) = Pickle::read(bytes).unwrap();
            assert!(matches!(pickle.node(root), Node::Int(found) if *found == expected), "{expected}: {pickle:?}");
        }
    }

    #[test]
    fn cut_and_flipped_pickles_give_a_value_or_an_error() {
        let whole =
            b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00actorch\nx\n(K\x01K\x02tRu}X\x01\x00\x00\x00bNsb.";
        assert!(Pickle::read(whole).is_ok());
        for cut in 0..whole.len() {
            assert!(Pickle::read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut bent = whole.to_vec();
                bent[at] = byte;
                let _ = Pickle::read(&bent);
            }
        }
    }
}
