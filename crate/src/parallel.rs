//! Work on all cores, with interrupts and progress.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use crate::interrupt::{self, Interrupted};

/// Returns the number of threads that work at once: one for each core.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `work` on every job. Each thread has a state of its own, such as buffers; `progress` receives what it sends on
/// the calling thread. The first error ends it, and so does an interrupt.
///
/// # Errors
/// The error of a job, or [`Interrupted`].
pub(crate) fn for_each<J: Sync, S, E: Send + From<Interrupted>>(
    jobs: &[J],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &J, &Sender<u64>) -> Result<(), E> + Sync,
    progress: &dyn Fn(u64),
) -> Result<(), E> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let until_empty = |sender: Sender<u64>| {
        let mut state = state();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let done = interrupt::check().map_err(E::from).and_then(|()| work(&mut state, job, &sender));
            if done.is_err() {
                failed.store(true, Ordering::Relaxed);
                return done;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let spawn = |_| {
            let sender = sender.clone();
            scope.spawn(|| until_empty(sender))
        };
        let workers: Vec<_> = (0..threads().min(jobs.len())).map(spawn).collect();
        drop(sender);
        receiver.into_iter().for_each(progress);
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Runs `work` on the result of `read` for each number below `count`, in order, while the next one is read on another
/// thread, so two are in memory at a time.
///
/// # Errors
/// The first error of either.
pub(crate) fn read_ahead<T: Send, E: Send>(
    count: usize,
    read: impl Fn(usize) -> Result<T, E> + Sync,
    mut work: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    let read = &read;
    std::thread::scope(|scope| {
        let start = |index: usize| (index < count).then(|| scope.spawn(move || read(index)));
        let mut next = start(0);
        let mut index = 0;
        while let Some(reading) = next.take() {
            let item = reading.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            next = start(index + 1);
            work(index, item)?;
            index += 1;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_job_is_done_once_and_counted() {
        let jobs: Vec<u64> = (1..=1000).collect();
        let (done, counted) = (Mutex::new(Vec::new()), Cell::new(0));
        let work = |_: &mut (), job: &u64, sender: &Sender<u64>| {
            done.lock().unwrap().push(*job);
            sender.send(*job).unwrap();
            Ok::<_, Interrupted>(())
        };
        for_each(&jobs, || (), work, &|amount| counted.set(counted.get() + amount)).unwrap();
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!((done, counted.get()), (jobs, 500_500));
    }

    #[test]
    fn what_is_read_ahead_comes_in_order_and_ends_with_an_error() {
        let mut seen = Vec::new();
        let read = |index: usize| if index < 5 { Ok(10 * index) } else { Err("unreadable") };
        let all = read_ahead(5, read, |index, item| {
            seen.push((index, item));
            Ok(())
        });
        assert_eq!((all, seen.len(), seen[4]), (Ok(()), 5, (4, 40)));
        assert_eq!(read_ahead(7, read, |_, _| Ok(())), Err("unreadable"));
        assert_eq!(read_ahead(7, read, |index, _| if index == 2 { Err("work") } else { Ok(()) }), Err("work"));
        assert_eq!(read_ahead(0, read, |_, _| Err("none")), Ok(()));
    }

    #[test]
    fn the_first_error_ends_it() {
        let jobs: Vec<usize> = (0..100_000).collect();
        let begun = AtomicUsize::new(0);
        let work = |_: &mut (), job: &usize, _: &Sender<u64>| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *job == 10 { Err(Interrupted) } else { Ok(()) }
        };
        assert!(for_each(&jobs, || (), work, &|_| ()).is_err());
        assert!(begun.into_inner() < 100_000);
    }
}
