//! Questions to the person at the notebook.

use std::io::{BufRead, Write};
use std::sync::RwLock;

type Ask = Box<dyn Fn(&str, bool) -> Option<String> + Send + Sync>;

static ASK: RwLock<Option<Ask>> = RwLock::new(None);

/// Installs how questions reach the user; the notebook kernel does.
pub fn set_input(ask: impl Fn(&str, bool) -> Option<String> + Send + Sync + 'static) {
    *ASK.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Box::new(ask));
}

/// Asks the user for a line. `None` if nobody can be asked, as in a headless run.
pub fn input(prompt: &str) -> Option<String> {
    ask(prompt, false)
}

/// Asks the user for a line that is not shown while it is typed. `None` if nobody can be asked.
pub fn password(prompt: &str) -> Option<String> {
    ask(prompt, true)
}

fn ask(prompt: &str, hidden: bool) -> Option<String> {
    if let Some(ask) = ASK.read().unwrap_or_else(|poisoned| poisoned.into_inner()).as_deref() {
        return ask(prompt, hidden);
    }
    if hidden {
        return None; // without a notebook the terminal would echo it
    }
    let mut out = std::io::stdout();
    out.write_all(prompt.as_bytes()).and_then(|()| out.flush()).ok()?;
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned())
}
