//! The programs that a worker's cells started, and those that they started. They end with the worker.

use crate::system;

/// Ends all processes of the session that this one leads, except itself. Processes with their own session stay.
pub(crate) fn end(leader: u32) {
    // A process that is killed may just have started another.
    for _ in 0..3 {
        let all = of_session(leader);
        if all.is_empty() {
            return;
        }
        all.into_iter().for_each(|process| system::send(process, system::KILL));
    }
}

/// Returns the living processes of a session except its leader; empty if the system does not list them.
fn of_session(leader: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.filter(|process| *process != leader && session_of(*process) == Some(leader)).collect()
}

/// `PID (NAME) STATE PARENT GROUP SESSION …`; the name may contain anything.
fn session_of(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let living = fields.next()? != "Z";
    fields.nth(2)?.parse().ok().filter(|_| living)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn programs_of_a_session_end_except_its_leader() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & (sleep 600 & exec sleep 600) & read line"]).stdin(Stdio::piped());
        system::lead_session(&mut command);
        let mut leader = command.spawn().unwrap();
        let wait = |done: &dyn Fn(usize) -> bool| {
            (0..500).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                done(of_session(leader.id()).len())
            })
        };
        assert!(wait(&|count| count == 3));
        end(leader.id());
        assert!(wait(&|count| count == 0));
        assert_eq!(leader.try_wait().unwrap(), None, "the leader is not ended");
        drop(leader.stdin.take());
        leader.wait().unwrap();
    }
}
