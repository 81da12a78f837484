//! What the kernel asks of the operating system, each behind a safe function. What no library wraps is unsafe code here:
//! with the loading of cells and parts, all of this package's.

mod turns;

use std::ffi::{c_int, c_void};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{FileType, OFlags, StatVfs, StatVfsMountFlags, fcntl_setfl, fstat, major, minor, statvfs};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::stdio::{dup2_stderr, dup2_stdout};
use signal_hook::flag;

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

/// Makes interrupts ask the toolkit's loops to stop.
pub fn request_on_interrupt(again: Again) {
    let requested = chandlery::interrupt::flag();
    // If the system refuses a handler, interrupts have their previous effect.
    if again == Again::End {
        let _ = flag::register_conditional_default(INTERRUPT, requested);
    }
    let _ = flag::register(INTERRUPT, requested);
}

/// Returns whether this process was started to ignore a signal, as by `nohup`.
pub fn is_ignored(signal: c_int) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    ignored.is_some_and(|set| set & (1 << (signal - 1)) != 0)
}

/// Blocks interrupts in the calling thread, so that another thread of this process handles them.
pub fn leave_interrupts_to_other_threads() {
    // SAFETY: all-zero is a valid `sigset_t` to initialize, and the calls only change that set and this thread's mask.
    unsafe {
        let mut interrupts: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut interrupts);
        libc::sigaddset(&mut interrupts, INTERRUPT);
        libc::pthread_sigmask(libc::SIG_BLOCK, &interrupts, std::ptr::null_mut());
    }
}

/// Makes writing to a closed pipe end the process silently.
pub fn end_with_reader() {
    static ALWAYS: AtomicBool = AtomicBool::new(true);
    let _ = flag::register_conditional_default(libc::SIGPIPE, &ALWAYS);
}

/// Sends a signal to a process, if it still exists.
pub fn send(process: u32, signal: c_int) {
    let _ = kill(process, 1, signal);
}

/// Sends a signal to a whole process group.
pub fn send_group(leader: u32, signal: c_int) {
    let _ = kill(leader, -1, signal);
}

/// Returns whether a process exists.
pub fn is_alive(process: u32) -> bool {
    // Signal 0 only asks.
    kill(process, 1, 0).map_err(|error| error.raw_os_error()) != Err(Some(libc::ESRCH))
}

/// Sends a signal to a process, or to its group where the sign is -1.
fn kill(process: u32, sign: libc::pid_t, signal: c_int) -> std::io::Result<()> {
    let gone = || std::io::Error::from_raw_os_error(libc::ESRCH);
    let process = libc::pid_t::try_from(process).map_err(|_| gone())?;
    // SAFETY: plain numbers in, a number out.
    done(unsafe { libc::kill(sign * process, signal) })
}

/// Converts the return value of a system call.
fn done(returned: c_int) -> std::io::Result<()> {
    if returned < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a program end with the process that starts it.
pub fn end_with_parent(command: &mut Command) {
    // SAFETY: the one call is allowed between fork and exec, and takes plain numbers.
    unsafe { command.pre_exec(|| done(libc::prctl(libc::PR_SET_PDEATHSIG, KILL))) };
}

/// Makes a program lead its own session, by which the programs that it starts can be found.
pub fn lead_session(command: &mut Command) {
    // SAFETY: the one call is allowed between fork and exec, and takes nothing.
    unsafe { command.pre_exec(|| done(libc::setsid())) };
}

/// Returns the free bytes of the file system of a folder.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    file_system(folder).map(|stat| stat.f_bavail * stat.f_frsize)
}

/// Returns whether the file system of a folder is mounted `noexec`, so that libraries cannot be loaded from it.
pub fn forbids_programs(folder: &Path) -> bool {
    file_system(folder).is_some_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

fn file_system(folder: &Path) -> Option<StatVfs> {
    statvfs(folder).ok()
}

/// Makes reading from a pipe fail instead of waiting.
pub fn never_wait(pipe: impl AsFd) {
    let _ = fcntl_setfl(pipe, OFlags::NONBLOCK);
}

/// Waits until a socket or one of two pipes has something, not longer than `limit`; true if it is the socket, also when its
/// peer is gone.
pub fn wait_for(socket: BorrowedFd<'_>, pipes: [BorrowedFd<'_>; 2], limit: Duration) -> bool {
    let mut all = [socket, pipes[0], pipes[1]].map(readable);
    poll(&mut all, limit);
    // A pipe that the user's code closed stays ready forever; then only the socket is worth waiting for.
    if all[0].revents == 0 && all[1..].iter().any(|pipe| pipe.revents & libc::POLLHUP != 0) {
        poll(&mut all[..1], Duration::from_millis(20));
    }
    all[0].revents != 0
}

/// Waits until one of three has something, or is closed; false if that takes longer than `limit`.
pub fn has_more(all: [BorrowedFd<'_>; 3], limit: Duration) -> bool {
    poll(&mut all.map(readable), limit) > 0
}

fn readable(descriptor: BorrowedFd<'_>) -> libc::pollfd {
    libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// Waits for one of the events; returns how many descriptors have one.
fn poll(all: &mut [libc::pollfd], limit: Duration) -> c_int {
    let limit = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: as many valid entries as the slice has, of which there are a few.
    unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, limit) }
}

/// Passes a descriptor to a program, under the number `number`. The command owns it from now on:
/// it is closed with the command.
pub fn hand_over(command: &mut Command, ours: OwnedFd, number: RawFd) {
    // SAFETY: the calls are allowed between fork and exec. `ours` is open, because the closure owns it; `dup2` onto itself
    // would keep the close-on-exec flag.
    unsafe {
        command.pre_exec(move || match ours.as_raw_fd() {
            ours if ours == number => done(libc::fcntl(ours, libc::F_SETFD, 0)),
            ours => done(libc::dup2(ours, number)),
        })
    };
}

/// Takes the socket that [`hand_over`] passed to this process, once, and reads `greeting` from it, which the other side wrote before
/// this process started. Returns `None` if there is no such socket, or if it does not begin with the greeting; it is then left alone.
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
    // SAFETY: the greeting tells that our parent made this descriptor for us; it is taken once, so nothing else in this
    // process owns it.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(number) });
    fcntl_setfd(&socket, FdFlags::CLOEXEC).ok()?;
    socket.read_exact(&mut begin).ok()?;
    Some(socket)
}

/// Flushes C's output streams.
pub fn flush_c_streams() {
    // SAFETY: a null stream means all of them.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Discards all further output of this process and its programs.
pub fn discard_output() {
    let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") else { return };
    let _ = dup2_stdout(&null);
    let _ = dup2_stderr(&null);
}

/// Makes C's standard output line-buffered, like Rust's, so that lines of both keep their order.
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
    signal_hook::low_level::exit(0)
}

/// Returns at most so many bytes of standard input; empty at its end.
type Typed = Box<dyn Fn(usize) -> std::io::Result<Vec<u8>> + Send + Sync>;

static TYPED: OnceLock<Typed> = OnceLock::new();

/// Makes all Rust code in this process read standard input from `typed`. Programs that it starts do not.
pub fn replace_stdin(typed: impl Fn(usize) -> std::io::Result<Vec<u8>> + Send + Sync + 'static) {
    let _ = TYPED.set(Box::new(typed));
}

/// Returns whether standard input is still the empty one that this process was started with.
fn stdin_is_null() -> bool {
    fstat(std::io::stdin()).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
    })
}

/// Replaces the system library's `read` for every library that this command loads: Rust's standard library has no other hook for
/// standard input, and a pipe does not tell that a reader is waiting.
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
