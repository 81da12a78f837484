//! The `{:?}` of a value that is too large to be written out, folded while it is written: of each list or map only
//! the first and the last items and their number are kept. The text never exists as a whole.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Write};
use std::time::{Duration, Instant};

use crate::display::numbers::thousands;

/// Items that are held of each end of the outermost list, and of the beginning and the end of lists inside.
const OUTER: (usize, usize) = (140, 140);
const INNER: (usize, usize) = (8, 2);
/// Fields of a struct that are held.
const FIELDS: usize = 40;
/// Characters that are held of text between the brackets, and the most that one line says of a list inside.
const TEXT: usize = 80;
const LINE: usize = 100;
/// Levels of nesting below which nothing is kept.
const DEPTH: usize = 32;
/// How long a value may take to write itself.
const TIME: Duration = Duration::from_secs(2);

/// The first and the last items, and how many there are.
#[derive(Debug, Default)]
pub(in crate::display) struct Ends {
    pub(in crate::display) head: Vec<String>,
    pub(in crate::display) tail: VecDeque<String>,
    pub(in crate::display) count: usize,
    /// The value was still writing when its time was over, so there are more than `count`.
    pub(in crate::display) unfinished: bool,
}

impl Ends {
    /// Takes an item and leaves an empty one. It reuses memory if there are many.
    fn push(&mut self, item: &mut String, (first, last): (usize, usize)) {
        self.count += 1;
        if self.head.len() < first {
            self.head.push(std::mem::take(item));
            return;
        }
        let mut free = if self.tail.len() == last { self.tail.pop_front().unwrap_or_default() } else { String::new() };
        free.clear();
        self.tail.push_back(std::mem::replace(item, free));
    }

    /// How many there are, in words.
    pub(in crate::display) fn words(&self, name: &str) -> String {
        let more = if self.unfinished { "at least " } else { "" };
        format!("{more}{} {name}", thousands(self.count as u64))
    }

    fn all(&self) -> bool {
        !self.unfinished && self.head.len() + self.tail.len() == self.count
    }
}

/// The contents of one pair of brackets.
#[derive(Debug)]
pub(in crate::display) struct Group {
    /// The text before the bracket, such as a type's name.
    pub(in crate::display) before: String,
    pub(in crate::display) open: char,
    /// Braces with blanks inside, as around the fields of a struct.
    pub(in crate::display) is_struct: bool,
    pub(in crate::display) ends: Ends,
    current: Text,
}

impl Group {
    fn new(open: char, before: String) -> Self {
        Self { before, open, is_struct: false, ends: Ends::default(), current: Text::default() }
    }

    pub(in crate::display) fn close(&self) -> char {
        match self.open {
            '[' => ']',
            '(' => ')',
            _ => '}',
        }
    }

    /// What its items are called.
    pub(in crate::display) fn items(&self) -> &'static str {
        match self.open {
            _ if self.is_struct => "fields",
            '{' if self.ends.head.first().is_some_and(|item| item.contains(": ")) => "entries",
            _ => "values",
        }
    }

    fn end_item(&mut self, depth: usize) {
        self.current.end();
        let room = match depth {
            _ if self.is_struct => (FIELDS, FIELDS),
            1 => OUTER,
            _ => INNER,
        };
        self.ends.push(&mut self.current.held, room);
    }

    /// All of it in one line, the middle left out if it is long.
    fn line(&self) -> String {
        let (open, close) = (self.open, self.close());
        let blank = if self.is_struct { " " } else { "" };
        let all: Vec<&str> = self.ends.head.iter().chain(&self.ends.tail).map(String::as_str).collect();
        if self.ends.all() && (self.is_struct || all.iter().map(|item| item.len() + 2).sum::<usize>() <= LINE) {
            return format!("{}{open}{blank}{}{blank}{close}", self.before, all.join(", "));
        }
        let words = self.ends.words(self.items());
        let with = |first: usize, last: usize| {
            let first = all[..all.len().min(first)].join(", ");
            let last = if self.ends.unfinished { &[] } else { &all[all.len() - last.min(all.len() / 2)..] };
            let last = if last.is_empty() { String::new() } else { format!(", {}", last.join(", ")) };
            format!("{}{open}{blank}{first}, …{last}{blank}{close} ({words})", self.before)
        };
        let lines = [(3, 2), (2, 1), (1, 1)].map(|(first, last)| with(first, last));
        lines.into_iter().find(|line| line.len() <= LINE).unwrap_or_else(|| with(1, 0))
    }
}

/// Text of which the beginning is held.
#[derive(Debug, Default)]
struct Text {
    held: String,
    /// Characters, those not held included.
    count: usize,
    /// Those of them that stand in quotes.
    quoted: usize,
}

impl Text {
    fn push(&mut self, c: char) {
        if c == ' ' && self.held.is_empty() {
            return;
        }
        if self.count < TEXT {
            self.held.push(c);
        }
        self.count += 1;
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn is_blank(&self) -> bool {
        self.held.trim_end().is_empty()
    }

    /// Text that is short already.
    fn push_line(&mut self, line: &str) {
        if self.held.len() < 4 * LINE {
            self.held.push_str(line);
        }
    }

    /// Says how much is not held.
    fn end(&mut self) {
        if self.count > TEXT {
            // Text that is cut within quotes stays in quotes.
            let quote = if self.held.matches('"').count() % 2 == 1 { "\"" } else { "" };
            let count = if self.quoted > 0 { self.quoted } else { self.count };
            self.held.push_str(&format!("…{quote} ({} characters)", thousands(count as u64)));
        }
        (self.count, self.quoted) = (0, 0);
        self.held.truncate(self.held.trim_end().len());
    }

    fn take(&mut self) -> String {
        self.end();
        std::mem::take(&mut self.held)
    }
}

/// The writer's position in the text of a value.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Plain,
    /// In a string; whether the next character is escaped.
    Quoted(bool),
    /// After `'`, which may begin a character or be an apostrophe.
    Character,
    /// After `'` and one character more.
    Ending(char),
    /// In a character that is written with a backslash; whether the next one is escaped.
    Escaped(bool),
}

/// The writer.
pub(in crate::display) struct Fold {
    groups: Vec<Group>,
    /// The outermost group, closed.
    outer: Option<Group>,
    state: State,
    /// Brackets that are open below [`DEPTH`].
    deeper: usize,
    began: Instant,
    steps: u32,
}

impl Fold {
    /// What a value writes, in one line, and by its outermost brackets if nothing is outside of them.
    pub(in crate::display) fn of(value: &dyn fmt::Display) -> (String, Option<Group>) {
        let mut fold = Self::new();
        let unfinished = write!(fold, "{value}").is_err();
        fold.end(unfinished)
    }

    /// The same of a value that is a list, a map or a struct.
    pub(in crate::display) fn group(value: &dyn Debug) -> Option<Group> {
        Self::of(&format_args!("{value:?}")).1
    }

    fn new() -> Self {
        Self {
            groups: vec![Group::new(' ', String::new())],
            outer: None,
            state: State::Plain,
            deeper: 0,
            began: Instant::now(),
            steps: 0,
        }
    }

    fn end(mut self, unfinished: bool) -> (String, Option<Group>) {
        if let State::Ending(c) = self.state {
            self.text(c);
        }
        self.deeper = 0;
        if unfinished && let Some(group) = self.groups.last_mut() {
            group.current.take(); // half an item
        }
        while self.groups.len() > 1 {
            if let Some(group) = self.groups.last_mut() {
                group.ends.unfinished = unfinished;
            }
            self.close();
        }
        let mut root = self.groups.remove(0);
        let outer = self.outer.filter(|outer| root.current.held == outer.line() && root.ends.count == 0);
        if unfinished && outer.is_none() {
            root.current.held.push('…');
        }
        root.end_item(0);
        let all: Vec<String> = root.ends.head.into_iter().chain(root.ends.tail).collect();
        (all.join(", "), outer)
    }

    fn text(&mut self, c: char) {
        if self.deeper == 0
            && let Some(group) = self.groups.last_mut()
        {
            group.current.push(c);
        }
    }

    fn quoted(&mut self) {
        if let Some(group) = self.groups.last_mut() {
            group.current.quoted += 1;
        }
    }

    fn open(&mut self, open: char) {
        if self.groups.len() > DEPTH {
            self.deeper += 1;
        } else if let Some(group) = self.groups.last_mut() {
            // With the blank behind it: a type's name, or the name of a field.
            let before = std::mem::take(&mut group.current);
            self.groups.push(Group::new(open, before.held));
        }
    }

    fn close(&mut self) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        let depth = self.groups.len() - 1;
        let Some(mut group) = self.groups.pop() else { return };
        if !group.current.is_blank() {
            group.end_item(depth);
        }
        let line = group.line();
        if let Some(around) = self.groups.last_mut() {
            around.current.push_line(&line);
        }
        if depth == 1 && self.outer.is_none() {
            self.outer = Some(group);
        }
    }

    fn comma(&mut self) {
        let depth = self.groups.len() - 1;
        if self.deeper == 0
            && let Some(group) = self.groups.last_mut()
        {
            group.end_item(depth);
        }
    }

    fn step(&mut self, c: char) {
        match self.state {
            State::Plain => self.plain(c),
            State::Quoted(escaped) => {
                self.text(c);
                self.state = match c {
                    '"' if !escaped => State::Plain,
                    '\\' if !escaped => State::Quoted(true),
                    _ => {
                        self.quoted();
                        State::Quoted(false)
                    }
                };
            }
            State::Character if c == '\\' => {
                self.text(c);
                self.state = State::Escaped(true);
            }
            State::Character => self.state = State::Ending(c),
            State::Ending(within) => {
                self.state = State::Plain;
                if c == '\'' {
                    self.text(within);
                    self.text(c);
                } else {
                    self.step(within);
                    self.step(c);
                }
            }
            State::Escaped(escaped) => {
                self.text(c);
                self.state = if c == '\'' && !escaped { State::Plain } else { State::Escaped(false) };
            }
        }
    }

    fn plain(&mut self, c: char) {
        match c {
            '[' | '(' | '{' => self.open(c),
            ']' | ')' | '}' if self.groups.len() > 1 => self.close(),
            ',' => self.comma(),
            _ => {
                if let Some(group) = self.groups.last_mut()
                    && c == ' '
                    && group.open == '{'
                    && group.ends.count == 0
                    && group.current.is_empty()
                {
                    group.is_struct = true;
                }
                self.state = match c {
                    '"' => State::Quoted(false),
                    '\'' => State::Character,
                    _ => State::Plain,
                };
                self.text(c);
            }
        }
    }
}

impl Write for Fold {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.step(c);
            self.steps = self.steps.wrapping_add(1);
            if self.steps.is_multiple_of(1 << 16) && self.began.elapsed() > TIME {
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
