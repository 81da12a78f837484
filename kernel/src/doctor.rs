//! `chandlery kernel doctor`: what this machine lacks for notebooks, and how to get it.

mod compiling;
mod dependencies;
mod installed;
mod machine;

pub use dependencies::cleaned;

use std::path::PathBuf;

use serde_json::{Value, json};

/// The verdict of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is fine.
    Good,
    /// Something works less well without this.
    Advice,
    /// Notebooks with Rust cells do not run without this.
    Missing,
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// The subject.
    pub subject: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// A description of the finding.
    pub found: String,
    /// What to do, if something is wrong.
    pub fix: Option<String>,
}

impl Check {
    fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, found: found.into(), fix: None }
    }

    fn bad(subject: &'static str, verdict: Verdict, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { subject, verdict, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Runs all checks.
pub fn examine() -> Vec<Check> {
    let mut checks = compiling::checks();
    checks.extend(dependencies::checks());
    checks.extend(installed::checks());
    checks.extend(machine::checks());
    checks
}

/// Returns whether notebooks with Rust cells can run.
pub fn passed(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Missing)
}

/// Returns the checks as text, one line each and one for its fix.
pub fn report(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let mark = match check.verdict {
            Verdict::Good => "ok      ",
            Verdict::Advice => "advice  ",
            Verdict::Missing => "MISSING ",
        };
        text.push_str(&format!("{mark} {:<11} {}\n", check.subject, check.found));
        if let Some(fix) = &check.fix {
            text.push_str(&format!("{:21}fix: {fix}\n", ""));
        }
    }
    text.push_str(match passed(checks) {
        true => "Notebooks with Rust cells can run here.\n",
        false => "Notebooks with Rust cells cannot run here yet; notebooks of magics can.\n",
    });
    text
}

/// Returns the checks as JSON.
pub fn json(checks: &[Check]) -> Value {
    let verdict = |verdict| match verdict {
        Verdict::Good => "good",
        Verdict::Advice => "advice",
        Verdict::Missing => "missing",
    };
    let all = checks.iter().map(|check| {
        json!({"subject": check.subject, "verdict": verdict(check.verdict), "found": check.found, "fix": check.fix})
    });
    json!({"passed": passed(checks), "checks": all.collect::<Vec<_>>()})
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_comes_with_its_fix() {
        for check in examine() {
            assert_eq!(check.verdict == Verdict::Good, check.fix.is_none(), "{check:?}");
        }
        let checks = [Check::bad("rustc", Verdict::Missing, "none", "get one")];
        assert!(
            report(&checks).contains("MISSING  rustc       none\n                     fix: get one\n"),
            "{}",
            report(&checks)
        );
        assert_eq!(json(&checks)["checks"][0]["verdict"], "missing");
        assert_eq!(json(&checks)["passed"], false);
    }
}
