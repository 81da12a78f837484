//! The worker's end of the socket: one thread reads, any thread reports.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chandlery::display::{DisplayId, MimeBundle, Sink};

use super::frame::{self, Report, WorkerRequest};
use crate::descendants;
use crate::system;

/// How long a worker may take to stop its cell and drop its variables when its engine is gone.
const ORPHANED: Duration = Duration::from_secs(2);

/// Sends reports. A report that needs an answer blocks the others until the answer arrives.
pub(super) struct Channel {
    line: Mutex<Line>,
}

struct Line {
    stream: UnixStream,
    answers: Receiver<WorkerRequest>,
}

impl Channel {
    /// Splits the socket into a channel for reports and a queue of requests.
    ///
    /// When the engine's end closes, the queue ends, and soon the process ends as well, whatever it is doing: no worker
    /// outlives its server.
    pub(super) fn open(stream: UnixStream) -> std::io::Result<(Arc<Self>, Receiver<WorkerRequest>)> {
        let (answer, answers) = channel();
        let (request, requests) = channel();
        let incoming = stream.try_clone()?;
        std::thread::Builder::new().name("requests".into()).spawn(move || receive(incoming, answer, request))?;
        Ok((Arc::new(Self { line: Mutex::new(Line { stream, answers }) }), requests))
    }

    /// Sends a report.
    pub(super) fn send(&self, report: &Report) {
        let mut line = self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A failed write means that the engine is gone, which the reading thread handles.
        let _ = frame::write(&mut line.stream, report);
    }

    /// Sends a report and waits for its answer.
    pub(super) fn ask(&self, report: &Report) -> Option<WorkerRequest> {
        let mut line = self.line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        frame::write(&mut line.stream, report).ok()?;
        line.answers.recv().ok()
    }
}

fn receive(mut stream: UnixStream, answers: Sender<WorkerRequest>, requests: Sender<WorkerRequest>) {
    loop {
        let sent = match frame::read(&mut stream) {
            Ok(answer @ (WorkerRequest::Forwarded | WorkerRequest::Answer { .. })) => answers.send(answer),
            Ok(request) => requests.send(request),
            Err(_) => break,
        };
        if sent.is_err() {
            return;
        }
    }
    // Nobody reads output anymore. A cell that checks for interrupts stops; then the variables are dropped.
    system::discard_output();
    chandlery::interrupt::request();
    drop((answers, requests));
    std::thread::sleep(ORPHANED);
    descendants::end(std::process::id());
    system::end_now()
}

/// Flushes `print!` and C's stdio.
pub(super) fn flush() {
    let _ = std::io::stdout().flush();
    system::flush_c_streams();
}

/// The toolkit's displays, as frames. Text printed before a display is sent before it, and the display is
/// forwarded before anything printed after it.
pub(super) struct Displays(pub(super) Arc<Channel>);

impl Sink for Displays {
    fn display(&self, bundle: &MimeBundle, id: Option<&DisplayId>) {
        flush();
        self.0.ask(&Report::Display { data: bundle.clone(), id: id.map(|id| id.0.clone()) });
    }

    fn update(&self, bundle: &MimeBundle, id: &DisplayId) {
        flush();
        self.0.ask(&Report::Update { data: bundle.clone(), id: id.0.clone() });
    }

    fn clear(&self, wait: bool) {
        flush();
        self.0.ask(&Report::Clear { wait });
    }
}
