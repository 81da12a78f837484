//! Bars that run at the same time: one output of a notebook with a row for each, or lines at the bottom of a terminal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::view::{ProgressState, progress_bundle};
use crate::display::{Updating, in_notebook, is_interactive};
use crate::progress::{TaskOutcome, Unit};

static TERMINAL: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
static BOARDS: Mutex<Boards> =
    Mutex::new(Boards { current: Board::new(), earlier: Vec::new(), cell: None, in_cell: false, ticking: false });
/// Something ended: a bar, a cell.
static ENDED: Condvar = Condvar::new();
static NEXT_ROW: AtomicU64 = AtomicU64::new(1);
/// When the next drawing is due, in milliseconds since the first bar. It is read at every count, so it does not take a
/// lock.
static DUE: AtomicU64 = AtomicU64::new(0);
const INTERVAL_MS: u64 = 100;

/// How often bars without a count are drawn.
const TICK: Duration = Duration::from_millis(500);

/// How long work may run before its bar is shown.
pub(super) const PATIENCE: Duration = Duration::from_millis(300);

struct Boards {
    current: Board,
    /// The outputs of earlier cells, with bars that still run.
    earlier: Vec<Board>,
    /// The thread on which cells run: bars of threads that a cell started are within those of the cell.
    cell: Option<ThreadId>,
    /// Whether a cell runs. Bars that outlive it are drawn only when they count, else a notebook would never be idle.
    in_cell: bool,
    /// Whether the thread that draws bars without a count is running.
    ticking: bool,
}

/// One output.
struct Board {
    rows: Vec<Row>,
    display: Option<Updating>,
}

struct Row {
    id: u64,
    counter: ProgressBar,
    label: String,
    unit: Unit,
    depth: usize,
    thread: ThreadId,
    patient: bool,
    in_notebook: bool,
    /// Whether the terminal has a line for it.
    on_terminal: bool,
    /// The line that remains after it has ended.
    end: Option<ProgressState>,
}

fn boards() -> MutexGuard<'static, Boards> {
    BOARDS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn now_ms() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64
}

fn is_due() -> bool {
    now_ms() >= DUE.load(Ordering::Relaxed)
}

/// A cell begins on this thread. Its bars get an output of their own, even while bars of an earlier cell run.
pub fn begin_cell() {
    let mut boards = boards();
    boards.cell = Some(std::thread::current().id());
    boards.in_cell = true;
    let before = std::mem::replace(&mut boards.current, Board::new());
    if before.is_running() {
        boards.earlier.push(before);
    }
}

/// A cell has ended. Bars that it left running are drawn as they are.
pub fn end_cell() {
    let mut boards = boards();
    boards.in_cell = false;
    ENDED.notify_all();
    if boards.current.is_running() {
        boards.current.draw();
    }
}

/// Begins a row below the bar it is within: its number and depth.
pub(super) fn add(label: &str, counter: &ProgressBar, unit: Unit, patient: bool, in_notebook: bool) -> (u64, usize) {
    let mut boards = boards();
    let (thread, cell) = (std::thread::current().id(), boards.cell);
    let rows = &mut boards.current.rows;
    // A bar that only a terminal shows does not exist in a notebook, so nothing there is nested in it.
    let last_of = |thread| {
        rows.iter().rposition(|row| row.end.is_none() && row.thread == thread && (row.in_notebook || !in_notebook))
    };
    let parent = last_of(thread).or_else(|| last_of(cell?));
    let depth = parent.map_or(0, |parent| rows[parent].depth + 1);
    // After all bars that are nested in the parent already.
    let place = parent.and_then(|parent| (parent + 1..rows.len()).find(|&row| rows[row].depth < depth));
    let place = place.unwrap_or(rows.len());
    let id = NEXT_ROW.fetch_add(1, Ordering::Relaxed);
    let (label, counter) = (label.to_owned(), counter.clone());
    let (on_terminal, end) = (false, None);
    rows.insert(place, Row { id, counter, label, unit, depth, thread, patient, in_notebook, on_terminal, end });
    if !patient && is_due() {
        boards.current.draw();
    }
    if !boards.ticking && boards.is_watched() {
        // Without a thread it is drawn only when it counts.
        boards.ticking = std::thread::Builder::new().name("progress".to_owned()).spawn(tick).is_ok();
    }
    (id, depth)
}

/// Draws bars without a count, so that their time advances, until no bar runs or the cell has ended.
fn tick() {
    let mut boards = boards();
    while boards.is_watched() && boards.all().any(|board| board.is_running()) {
        let woken = ENDED.wait_timeout(boards, TICK).unwrap_or_else(|poisoned| poisoned.into_inner());
        boards = woken.0;
        if woken.1.timed_out() && boards.is_watched() && is_due() {
            boards.draw();
        }
    }
    boards.ticking = false;
}

/// Draws the rows, unless they were drawn within the last 100 ms or are being drawn.
pub(super) fn draw_if_due() {
    if is_due()
        && let Ok(mut boards) = BOARDS.try_lock()
        && is_due()
    {
        boards.draw();
    }
}

/// Ends a row, or forgets it if it was too short to matter.
pub(super) fn end(id: u64, state: ProgressState, brief: bool, in_notebook: bool) {
    let mut boards = boards();
    let Some(board) = boards.all().find(|board| board.rows.iter().any(|row| row.id == id)) else { return };
    let Some(index) = board.rows.iter().position(|row| row.id == id) else { return };
    board.rows[index].leave_terminal();
    // On a terminal, a nested bar is replaced by the next one; the outermost leaves its summary.
    if state.depth == 0 && !brief && in_notebook {
        let _ = TERMINAL.println(state.text());
    }
    // A nested bar that succeeded is replaced by the next one; one that failed says why.
    let forgotten = brief || !in_notebook || (state.outcome == Some(TaskOutcome::Done) && state.depth > 0);
    if forgotten {
        board.rows.remove(index);
    } else {
        board.rows[index].end = Some(state);
    }
    if !board.is_running() {
        board.draw();
        *board = Board::new();
    } else if is_due() {
        board.draw();
    }
    boards.earlier.retain(Board::is_running);
    ENDED.notify_all();
}

impl Boards {
    /// Whether bars are visible between counts.
    fn is_watched(&self) -> bool {
        !TERMINAL.is_hidden() || (self.in_cell && in_notebook() && is_interactive())
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Board> {
        std::iter::once(&mut self.current).chain(&mut self.earlier)
    }

    fn draw(&mut self) {
        self.all().filter(|board| board.is_running()).for_each(Board::draw);
    }
}

impl Board {
    const fn new() -> Self {
        Self { rows: Vec::new(), display: None }
    }

    fn is_running(&self) -> bool {
        self.rows.iter().any(|row| row.end.is_none())
    }

    fn draw(&mut self) {
        DUE.store(now_ms() + INTERVAL_MS, Ordering::Relaxed);
        if !TERMINAL.is_hidden() {
            self.rows.iter_mut().for_each(Row::draw_on_terminal);
        }
        if !in_notebook() || !is_interactive() {
            return;
        }
        let shown = |row: &&Row| row.in_notebook && row.is_shown();
        let states: Vec<ProgressState> = self.rows.iter().filter(shown).map(Row::state).collect();
        if !states.is_empty() {
            self.display.get_or_insert_with(Updating::new).redraw(&progress_bundle(&states));
        }
    }
}

impl Row {
    fn is_shown(&self) -> bool {
        !self.patient || self.end.is_some() || self.counter.elapsed() >= PATIENCE
    }

    fn draw_on_terminal(&mut self) {
        if self.end.is_some() || !self.is_shown() {
            return;
        }
        self.counter.set_message(self.state().terminal_line());
        if !self.on_terminal {
            // The one element that is cut at the terminal's edge.
            let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            self.counter = TERMINAL.add(self.counter.clone().with_style(style));
            self.on_terminal = true;
        }
        self.counter.tick();
    }

    fn leave_terminal(&mut self) {
        self.counter.finish_and_clear();
        if self.on_terminal {
            TERMINAL.remove(&self.counter);
        }
    }

    fn state(&self) -> ProgressState {
        let running = || ProgressState::of(&self.counter, &self.label, self.unit, self.depth, None);
        self.end.clone().unwrap_or_else(running)
    }
}
