//! Schedules notebooks: in order, as many at a time as requested, fewer if memory is short.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::console::{self, Teller};
use super::error::RunError;
use super::memory;

/// How one notebook's run ended.
pub(super) type Ended<R> = (R, Result<(), RunError>);

/// The memory that another notebook may need: a worker and two waiting compilers take half of it before the first cell.
const ROOM: u64 = 1 << 30;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Runs `count` notebooks, `at_a_time` of them together, and prints their reports. The work is told whether an earlier
/// notebook's failure means that it must not run.
pub(super) fn run<R: Send>(
    count: usize,
    at_a_time: usize,
    keep_going: bool,
    (report, live): (&mut dyn Write, bool),
    work: &(dyn Fn(usize, bool, &Teller) -> Ended<R> + Sync),
) -> (Vec<Ended<R>>, std::io::Result<()>) {
    let (notes, received) = mpsc::channel();
    let (next, running, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let ended: Mutex<Vec<Option<Ended<R>>>> = Mutex::new((0..count).map(|_| None).collect());
    let printed = std::thread::scope(|scope| {
        for _ in 0..at_a_time.clamp(1, count.max(1)) {
            let (notes, next, running, failed, ended) = (notes.clone(), &next, &running, &failed, &ended);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    if index >= count {
                        return;
                    }
                    let teller = Teller::new(index, notes.clone());
                    wait_for_room(running);
                    let result = work(index, failed.load(Ordering::SeqCst), &teller);
                    running.fetch_sub(1, Ordering::SeqCst);
                    // A timeout and Ctrl-C end the whole run, independent of `--keep-going`.
                    let ends = matches!(result.1, Err(RunError::Late { .. } | RunError::Stopped { .. }));
                    failed.fetch_or(result.1.is_err() && (ends || !keep_going), Ordering::SeqCst);
                    ended.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[index] = Some(result);
                }
            });
        }
        drop(notes);
        console::print(&received, report, live)
    });
    let ended = ended.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    (ended.into_iter().flatten().collect(), printed)
}

/// The first may always run; another only if there is memory for it.
fn wait_for_room(running: &AtomicUsize) {
    while running.fetch_add(1, Ordering::SeqCst) > 0 && memory::available().is_some_and(|bytes| bytes < ROOM) {
        running.fetch_sub(1, Ordering::SeqCst);
        std::thread::sleep(LOOK_AGAIN);
    }
}
