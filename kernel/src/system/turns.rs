//! Keeps the order of text on standard output and standard error, which reach their reader through two pipes.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;

/// How long text may wait for earlier text on the other stream.
const TURN: Duration = Duration::from_millis(250);

/// After a wait that timed out, no text waits for this many times as long.
const REST: u32 = 4;

/// The original pipes of standard output and standard error, even if the user's code replaces the descriptors.
static PIPES: OnceLock<[OwnedFd; 2]> = OnceLock::new();

/// Whether texts take turns.
static TURNS: AtomicBool = AtomicBool::new(false);

/// Sets whether the output of this process on standard output and standard error reaches the reader in the order in which it
/// was written: while this is on, text for one pipe waits until the other pipe is empty. Both must
/// have a reader.
pub fn keep_output_order(on: bool) {
    if PIPES.get().is_none() {
        let pipes = std::io::stdout().as_fd().try_clone_to_owned().and_then(|out| {
            let error = std::io::stderr().as_fd().try_clone_to_owned()?;
            Ok([out, error])
        });
        let Ok(pipes) = pipes else { return };
        let _ = PIPES.set(pipes);
    }
    TURNS.store(on, Ordering::Relaxed);
}

/// Waits until the other stream has been read, if `descriptor` is standard output or standard error.
fn wait_for_turn(descriptor: c_int) {
    match descriptor {
        libc::STDOUT_FILENO => wait_until_read(1),
        libc::STDERR_FILENO => wait_until_read(0),
        _ => {}
    }
}

/// Waits until one of the pipes is empty.
fn wait_until_read(pipe: usize) {
    // The end of the time without waiting, in milliseconds since the first wait.
    static RESTS: AtomicU64 = AtomicU64::new(0);
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    if !TURNS.load(Ordering::Relaxed) {
        return;
    }
    let Some(pipe) = PIPES.get().map(|pipes| &pipes[pipe]) else { return };
    let is_read = || {
        // A pipe that cannot be queried is not waited for.
        ioctl_fionread(pipe).unwrap_or(0) == 0
    };
    if is_read() {
        return;
    }
    let now = || u64::try_from(BEGAN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX);
    let begun = Instant::now();
    if now() < RESTS.load(Ordering::Relaxed) {
        return;
    }
    for attempt in 0.. {
        match attempt {
            0..100 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(20)),
        }
        if is_read() {
            return;
        }
        if begun.elapsed() > TURN {
            let rest = u64::try_from((TURN * REST).as_millis()).unwrap_or(u64::MAX);
            return RESTS.store(now().saturating_add(rest), Ordering::Relaxed);
        }
    }
}

/// Replaces the system library's `write` for every library that this command loads: all text of Rust's standard library
/// passes through it.
///
/// # Safety
/// As for `write(2)`: `buffer` has `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, buffer: *const c_void, count: usize) -> isize {
    wait_for_turn(descriptor);
    // SAFETY: the caller's arguments, handed on.
    unsafe { libc::syscall(libc::SYS_write, descriptor, buffer, count) as isize }
}

/// The same for `writev`.
///
/// # Safety
/// As for `writev(2)`: `parts` has `count` valid entries.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(descriptor: c_int, parts: *const libc::iovec, count: c_int) -> isize {
    wait_for_turn(descriptor);
    // SAFETY: the caller's arguments, handed on.
    unsafe { libc::syscall(libc::SYS_writev, descriptor, parts, count) as isize }
}

/// The function of the system library with which Rust's standard library starts most programs.
type Spawn = unsafe extern "C" fn(
    *mut libc::pid_t,
    *const c_char,
    *const libc::posix_spawn_file_actions_t,
    *const libc::posix_spawnattr_t,
    *const *mut c_char,
    *const *mut c_char,
) -> c_int;

/// Replaces it, to wait until all text is read, so that the program's output follows it.
///
/// # Safety
/// As for `posix_spawnp(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawnp(
    process: *mut libc::pid_t,
    file: *const c_char,
    actions: *const libc::posix_spawn_file_actions_t,
    attributes: *const libc::posix_spawnattr_t,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
) -> c_int {
    static NEXT: OnceLock<Option<Spawn>> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        // SAFETY: a name that ends with a zero; the function of that name has this type.
        unsafe {
            let next = libc::dlsym(libc::RTLD_NEXT, c"posix_spawnp".as_ptr());
            std::mem::transmute::<*mut c_void, Option<Spawn>>(next)
        }
    });
    (0..2).for_each(wait_until_read);
    match next {
        // SAFETY: the caller's arguments, handed on.
        Some(next) => unsafe { next(process, file, actions, attributes, arguments, environment) },
        None => libc::ENOSYS,
    }
}
