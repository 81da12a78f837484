//! The worker: the process that holds the toolkit, the variables and the devices, and runs cells and magics.
//!
//! It is the `chandlery` command itself, started without arguments, so that `std::env::args()` in a cell has only the program.
//! File descriptor 3 is a socket to the engine, with a pending greeting that makes the command a worker; 1 and 2
//! are pipes that carry the user's text and nothing else.

mod channel;
pub mod frame;
mod listing;
#[expect(unsafe_code, reason = "compiled cells are loaded and called")]
mod load;
mod magic;
mod shell;
mod stdin;
pub mod words;

pub use load::ENTRY;
pub(crate) use load::{TOKIO_ENTER, TOKIO_KEY};

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chandlery::cell::{Ending, Store, show};

use channel::{Channel, Displays, flush};
use frame::{Report, WorkerRequest};
use load::Runtime;

use crate::descendants;
use crate::system::{self, Again};

/// The descriptor of the socket.
pub const SOCKET: i32 = 3;

/// The greeting on the socket that makes the command a worker.
pub const GREETING: &[u8] = b"chandlery worker\n";

/// The bytes of stack for cells, smaller if that cannot be reserved. Memory is only taken when it is used. A program's
/// own stack has 8 MB, of which an optimized build needs a part. Cells are compiled without optimization, where a value is
/// copied several times, and each copy takes stack.
const STACKS: [usize; 3] = [256 << 20, 64 << 20, 8 << 20];

/// The exit status of a Rust program that panicked.
const PANICKED: u8 = 101;

/// While a cell runs, text that was printed without a line end appears after this long.
const FLUSH_EVERY: Duration = Duration::from_millis(30);

/// The same between cells, in multiples: only threads that a cell left behind can print then.
const STEPS_BETWEEN: u32 = 10;

/// Returns the socket to the engine, if this process was started as a worker. Must be called first.
pub fn socket() -> Option<UnixStream> {
    system::take_over(SOCKET, GREETING)
}

/// Runs until the engine asks it to end, or closes the socket. Cells run on a thread with a large stack, which is called
/// `main` like that of a program.
pub fn main(stream: UnixStream) -> ExitCode {
    system::request_on_interrupt(Again::Request);
    for bytes in STACKS {
        let Ok(socket) = stream.try_clone() else { return ExitCode::FAILURE };
        let thread = std::thread::Builder::new().name("main".into()).stack_size(bytes);
        if let Ok(thread) = thread.spawn(|| serve_all(socket)) {
            drop(stream);
            system::leave_interrupts_to_other_threads();
            return thread.join().unwrap_or(ExitCode::from(PANICKED));
        }
    }
    serve_all(stream)
}

fn serve_all(stream: UnixStream) -> ExitCode {
    system::write_c_lines();
    let Ok((channel, requests)) = Channel::open(stream) else { return ExitCode::FAILURE };
    chandlery::display::set_sink(Box::new(Displays(Arc::clone(&channel))));
    let asking = Arc::clone(&channel);
    chandlery::cell::set_input(move |prompt, password| {
        flush();
        match asking.ask(&Report::Ask { prompt: prompt.to_owned(), password }) {
            Some(WorkerRequest::Answer { text }) => text,
            _ => None,
        }
    });
    chandlery::display::register_fonts();
    chandlery::project::own_parts::compile_with(crate::parts::register);
    stdin::install();
    chandlery::cell::install_panic_hook();
    let running = Arc::new(AtomicBool::new(false));
    flush_while(Arc::clone(&running));

    let owned = |(name, path): (&str, &str)| (name.to_owned(), path.to_owned());
    channel.send(&Report::Ready { type_paths: chandlery::cell::type_paths().into_iter().map(owned).collect() });
    let mut store = Store::new();
    let mut surroundings = Runtime::default();
    for request in requests {
        chandlery::interrupt::reset();
        running.store(true, Ordering::Relaxed);
        system::keep_output_order(true);
        chandlery::display::begin_cell();
        let begun = Instant::now();
        let (ending, load) = serve(&request, &mut store, &channel, &mut surroundings);
        let run = begun.elapsed() - load;
        chandlery::display::end_cell();
        running.store(false, Ordering::Relaxed);
        flush();
        system::keep_output_order(false);
        if let Some(data) = show::take_result() {
            channel.send(&Report::Result { data });
        }
        channel.send(&Report::Done { ending, variables: store.variables(), load, run });
        if request == WorkerRequest::End {
            return ExitCode::SUCCESS;
        }
    }
    // The engine is gone; buffers in variables are written anyway.
    chandlery::interrupt::reset();
    surroundings.run(&mut || drop(clear(&mut store)));
    flush();
    descendants::end(std::process::id());
    ExitCode::SUCCESS
}

/// Drops all variables.
fn clear(store: &mut Store) -> Ending {
    store.clear();
    store.finish()
}

/// Serves a request. Also returns how long loading took.
fn serve(
    request: &WorkerRequest,
    store: &mut Store,
    channel: &Channel,
    surroundings: &mut Runtime,
) -> (Ending, Duration) {
    let WorkerRequest::Cell { library, vouched } = request else {
        let mut ending = Ending::Done;
        match request {
            WorkerRequest::Library { library } => {
                if let Err(error) = load::library(library, surroundings) {
                    ending = Ending::Refused { reasons: vec![error.to_string()] };
                }
            }
            request => surroundings.run(&mut || ending = directive(request, store, channel)),
        }
        return (ending, Duration::ZERO);
    };
    let begun = Instant::now();
    let loaded = load::cell(library);
    let load = begun.elapsed();
    let ending = match loaded {
        Ok(cell) => {
            load::vouch(store, vouched);
            surroundings.run(&mut || store.enter(cell));
            store.finish()
        }
        Err(error) => Ending::Refused { reasons: vec![error.to_string()] },
    };
    (ending, load)
}

fn directive(request: &WorkerRequest, store: &mut Store, channel: &Channel) -> Ending {
    match request {
        WorkerRequest::Magic { line } => magic::run(line, store, channel),
        WorkerRequest::Check { line } => magic::check(line, store),
        WorkerRequest::Shell { shell, script } => shell::run(shell, script),
        WorkerRequest::List { cells } => magic::show(channel, listing::variables(store, cells)),
        WorkerRequest::Reset | WorkerRequest::End => clear(store),
        WorkerRequest::Forget { names } => {
            names.iter().for_each(|name| store.remove(name));
            store.finish()
        }
        WorkerRequest::Cell { .. }
        | WorkerRequest::Library { .. }
        | WorkerRequest::Forwarded
        | WorkerRequest::Answer { .. } => Ending::Done,
    }
}

fn flush_while(running: Arc<AtomicBool>) {
    // Without the thread, partial lines appear when the cell ends.
    let _ = std::thread::Builder::new().name("flush".into()).spawn(move || {
        for step in (0..STEPS_BETWEEN).cycle() {
            std::thread::sleep(FLUSH_EVERY);
            if step == 0 || running.load(Ordering::Relaxed) {
                flush();
            }
        }
    });
}
