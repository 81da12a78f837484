//! The operating system's calls that Rust's library does not wrap, each behind a safe function: with the loading of cells,
//! all of this package's unsafe code.

mod turns;

use std::ffi::{c_int, c_void};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use turns::keep_output_order;

/// Asks a process to stop what it does, as Ctrl-C would.
pub const INTERRUPT: c_int = libc::SIGINT;
/// Ends a process.
pub const KILL: c_int = libc::SIGKILL;

/// What an interrupt does after the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The same.
    Request,
    /// It ends the process.
    End,
}

/// From now on an interrupt asks the toolkit's loops to stop.
pub fn request_on_interrupt(again: Again) {
    extern "C" fn request(_signal: c_int) {
        chandlery::interrupt::request();
    }
    // SAFETY: all-zero is a valid `sigaction`, and the handler only stores to an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = request as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART | if again == Again::End { libc::SA_RESETHAND } else { 0 };
        libc::sigaction(libc::SIGINT, &action, std::ptr::null_mut());
    }
}

/// Whether this process was started to ignore a signal, as by `nohup`.
pub fn is_ignored(signal: c_int) -> bool {
    // SAFETY: all-zero is a valid `sigaction`; without a new one the system only tells the current one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// From now on an interrupt is handled by another thread of this process than the calling one.
pub fn leave_interrupts_to_other_threads() {
    // SAFETY: all-zero is a valid `sigset_t` to initialize, and the calls only change that set and this thread's mask.
    unsafe {
        let mut interrupts: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut interrupts);
        libc::sigaddset(&mut interrupts, libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &interrupts, std::ptr::null_mut());
    }
}

/// From now on, writing to a pipe that nobody reads ends the process without a word.
pub fn end_with_reader() {
    // SAFETY: sets a disposition; no handler of ours is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Sends a signal; a process that is gone is none of our business.
pub fn send(process: u32, signal: c_int) {
    if let Ok(process) = libc::pid_t::try_from(process) {
        // SAFETY: plain numbers in, a number out.
        unsafe { libc::kill(process, signal) };
    }
}

/// Sends a signal to a process that leads a group, and to all of its group.
pub fn send_group(leader: u32, signal: c_int) {
    if let Ok(leader) = libc::pid_t::try_from(leader) {
        // SAFETY: plain numbers in, a number out.
        unsafe { libc::kill(-leader, signal) };
    }
}

/// A program that ends, when it is started, with the process that started it.
pub fn end_with_parent(command: &mut Command) {
    let ask = || {
        // SAFETY: plain numbers in, a number out.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: `ask` makes only a call that is allowed between fork and exec.
    unsafe { command.pre_exec(ask) };
}

/// A program that leads a session of its own, when it is started: what it starts can be told by that later.
pub fn lead_session(command: &mut Command) {
    let lead = || {
        // SAFETY: plain numbers in, a number out.
        match unsafe { libc::setsid() } {
            0.. => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: `lead` makes only a call that is allowed between fork and exec.
    unsafe { command.pre_exec(lead) };
}

/// Whether a process exists.
pub fn is_alive(process: u32) -> bool {
    let Ok(process) = libc::pid_t::try_from(process) else { return false };
    // SAFETY: signal 0 only asks.
    let sent = unsafe { libc::kill(process, 0) };
    sent == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// Bytes that may still be written to the file system of a folder.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    file_system(folder).map(|stat| stat.f_bavail * stat.f_frsize)
}

/// Whether the file system of a folder is mounted `noexec`: nothing can be loaded from there.
pub fn forbids_programs(folder: &Path) -> bool {
    file_system(folder).is_some_and(|stat| stat.f_flag & libc::ST_NOEXEC != 0)
}

fn file_system(folder: &Path) -> Option<libc::statvfs> {
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: all-zero is a valid value of this plain struct, and `statvfs` only writes to it.
    unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut stat) == 0).then_some(stat)
    }
}

/// Reading from it fails from now on where it would wait.
pub fn never_wait(pipe: impl AsFd) {
    // SAFETY: a borrowed descriptor is open.
    unsafe { libc::fcntl(pipe.as_fd().as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
}

/// Waits until a socket or one of two pipes has something, not longer than `limit`; true if it is the socket, also when its
/// peer is gone.
pub fn wait_for(socket: BorrowedFd<'_>, pipes: [BorrowedFd<'_>; 2], limit: Duration) -> bool {
    let mut all = [socket, pipes[0], pipes[1]].map(readable);
    let limit = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: three valid entries.
    unsafe { libc::poll(all.as_mut_ptr(), 3, limit) };
    // A pipe that the user's code closed stays ready for ever; then only the socket is worth waiting for.
    if all[0].revents == 0 && all[1..].iter().any(|pipe| pipe.revents & libc::POLLHUP != 0) {
        // SAFETY: one valid entry.
        unsafe { libc::poll(all.as_mut_ptr(), 1, 20) };
    }
    all[0].revents != 0
}

/// Waits until one of three has something, or is closed; false if that takes longer than `limit`.
pub fn has_more(all: [BorrowedFd<'_>; 3], limit: Duration) -> bool {
    let mut all = all.map(readable);
    let limit = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: three valid entries.
    unsafe { libc::poll(all.as_mut_ptr(), 3, limit) > 0 }
}

fn readable(descriptor: BorrowedFd<'_>) -> libc::pollfd {
    libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// Gives a program, when it starts, a descriptor of ours under the number `number`. The command owns ours from now on:
/// it is closed with the command.
pub fn hand_over(command: &mut Command, ours: OwnedFd, number: RawFd) {
    let pass = move || {
        let ours = ours.as_raw_fd();
        // SAFETY: `ours` is open, because this closure owns it; `dup2` onto itself would keep the close-on-exec flag.
        let done =
            unsafe { if ours == number { libc::fcntl(ours, libc::F_SETFD, 0) } else { libc::dup2(ours, number) } };
        if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: `pass` makes only calls that are allowed between fork and exec.
    unsafe { command.pre_exec(pass) };
}

/// Takes the socket that [`hand_over`] gave this process, once, and `greeting` from it, which the other side wrote before
/// this process started. `None` if no socket has that number, or something else waits on it: then it is left alone.
/// Programs that cells start do not inherit it.
pub fn take_over(number: RawFd, greeting: &[u8]) -> Option<UnixStream> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let mut begin = vec![0; greeting.len()];
    // SAFETY: the call writes at most as many bytes as `begin` has, and fails on what is not an open socket.
    let peeked =
        unsafe { libc::recv(number, begin.as_mut_ptr().cast(), begin.len(), libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    if usize::try_from(peeked) != Ok(greeting.len()) || begin != greeting || TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    // SAFETY: plain numbers in, a number out.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return None;
    }
    // SAFETY: the greeting tells that our parent made this descriptor for us; it is taken once, so nothing else in this
    // process owns it.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    socket.read_exact(&mut begin).ok()?;
    Some(socket)
}

/// Writes out what C's output streams still hold back.
pub fn flush_c_streams() {
    // SAFETY: a null stream means all of them.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// From now on what this process and its programs print goes nowhere.
pub fn discard_output() {
    let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") else { return };
    for output in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: plain numbers in, a number out; both are descriptors of this process.
        unsafe { libc::dup2(null.as_raw_fd(), output) };
    }
}

/// From now on C's standard output is written line by line, as Rust's is, so that lines of both keep their order.
pub fn write_c_lines() {
    #[cfg(target_os = "linux")]
    // SAFETY: `stdout` is C's own stream, open since the process started, and nothing was written to it yet.
    unsafe {
        unsafe extern "C" {
            static stdout: *mut libc::FILE;
        }
        libc::setvbuf(stdout, std::ptr::null_mut(), libc::_IOLBF, 0);
    }
}

/// Ends the process without running destructors, which a running cell may still need.
pub fn end_now() -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(0) }
}

/// Gives at most so many bytes of standard input; none is its end.
type Typed = Box<dyn Fn(usize) -> std::io::Result<Vec<u8>> + Send + Sync>;

static TYPED: OnceLock<Typed> = OnceLock::new();

/// From now on this process, in all its Rust code, reads standard input from `typed`. Programs it starts do not.
pub fn replace_stdin(typed: impl Fn(usize) -> std::io::Result<Vec<u8>> + Send + Sync + 'static) {
    let _ = TYPED.set(Box::new(typed));
}

/// Whether standard input is the empty one that this process was started with, and not closed or something else by now.
fn stdin_is_null() -> bool {
    // SAFETY: all-zero is a valid value of this plain struct, and `fstat` only writes to it.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(libc::STDIN_FILENO, &mut stat) == 0
            && stat.st_mode & libc::S_IFMT == libc::S_IFCHR
            && stat.st_rdev == libc::makedev(1, 3)
    }
}

/// The system library's `read`, for every library that this command loads: Rust's own has no other place where its
/// standard input could be replaced, and a pipe does not tell that somebody waits for it.
///
/// # Safety
/// As for `read(2)`: `buffer` has room for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn read(descriptor: c_int, buffer: *mut c_void, count: usize) -> isize {
    let typed = match TYPED.get() {
        Some(typed) if descriptor == libc::STDIN_FILENO && stdin_is_null() => typed(count),
        // SAFETY: the caller's arguments, handed on.
        _ => return unsafe { libc::syscall(libc::SYS_read, descriptor, buffer, count) } as isize,
    };
    match typed {
        Ok(bytes) => {
            let given = bytes.len().min(count);
            // SAFETY: `given` bytes fit in both, which are different memory.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), given) };
            given as isize
        }
        Err(error) => {
            // SAFETY: the address of this thread's own error number.
            unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
            -1
        }
    }
}
