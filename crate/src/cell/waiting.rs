//! `.await` in a cell: the cell's own thread drives the future.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use super::CellError;

/// How long an interrupt may wait to be noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

type Body<'a> = Pin<&'a mut dyn Future<Output = Result<(), CellError>>>;

struct Sleeper {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Runs the part of a cell that awaits something, to its end or to an interrupt.
///
/// # Errors
/// The part's own error, or the interrupt.
pub fn wait<T, F: Future<Output = Result<T, CellError>>>(part: F) -> Result<T, CellError> {
    let mut value = None;
    drive(pin!(async {
        value = Some(part.await?);
        Ok(())
    }))?;
    // `drive` succeeds only if its future has completed.
    value.ok_or_else(|| crate::interrupt::Interrupted.into())
}

fn drive(mut body: Body<'_>) -> Result<(), CellError> {
    let sleeper = Arc::new(Sleeper { thread: std::thread::current(), woken: AtomicBool::new(true) });
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut context = Context::from_waker(&waker);
    loop {
        if sleeper.woken.swap(false, Ordering::Acquire) {
            if let Poll::Ready(ended) = body.as_mut().poll(&mut context) {
                return ended;
            }
        } else {
            std::thread::park_timeout(LOOK_EVERY);
        }
        crate::interrupt::check()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_another_thread_wakes() {
        let mut started = false;
        let later = std::future::poll_fn(|context| {
            if std::mem::replace(&mut started, true) {
                return Poll::Ready(Ok(()));
            }
            let waker = context.waker().clone();
            std::thread::spawn(move || waker.wake());
            Poll::Pending
        });
        assert!(wait(later).is_ok());
    }

    #[test]
    fn errors_come_through() {
        assert!(wait(async { Err::<(), _>("no".into()) }).is_err());
        assert_eq!(wait(async { Ok::<_, CellError>(3) }).ok(), Some(3));
    }
}
