//! The bars that run at the same time: one output of a notebook, a row for each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::ThreadId;
use std::time::Instant;

use indicatif::ProgressBar;

use super::{PATIENCE, Unit};
use crate::display::{Outcome, ProgressState, Updating, in_notebook, is_interactive, progress_bundle};

static BOARDS: Mutex<Boards> = Mutex::new(Boards { current: Board::new(), earlier: Vec::new(), cell: None });
static NEXT_ROW: AtomicU64 = AtomicU64::new(1);
/// When the next drawing is due, in milliseconds since the first bar: asked at every count, so it takes no lock.
static DUE: AtomicU64 = AtomicU64::new(0);
const INTERVAL_MS: u64 = 100;

struct Boards {
    current: Board,
    /// Those of earlier cells, with bars that still run.
    earlier: Vec<Board>,
    /// The thread on which cells run: bars of threads that a cell started are within those of the cell.
    cell: Option<ThreadId>,
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
    /// What is left of it once it ended.
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

/// A cell begins on this thread: its bars get an output of their own, also while one of an earlier cell runs.
pub fn begin_cell() {
    let mut boards = boards();
    boards.cell = Some(std::thread::current().id());
    let before = std::mem::replace(&mut boards.current, Board::new());
    if before.is_running() {
        boards.earlier.push(before);
    }
}

/// A cell ended: what it left running is drawn as it is.
pub fn end_cell() {
    let mut boards = boards();
    if boards.current.is_running() {
        boards.current.draw();
    }
}

/// Begins a row below the bar it is within: its number and depth.
pub(super) fn add(label: &str, counter: &ProgressBar, unit: Unit, patient: bool) -> (u64, usize) {
    let mut boards = boards();
    let (thread, cell) = (std::thread::current().id(), boards.cell);
    let rows = &mut boards.current.rows;
    let last_of = |thread| rows.iter().rposition(|row| row.end.is_none() && row.thread == thread);
    let parent = last_of(thread).or_else(|| last_of(cell?));
    let depth = parent.map_or(0, |parent| rows[parent].depth + 1);
    // After all that is within the parent already.
    let place = parent.and_then(|parent| (parent + 1..rows.len()).find(|&row| rows[row].depth < depth));
    let place = place.unwrap_or(rows.len());
    let id = NEXT_ROW.fetch_add(1, Ordering::Relaxed);
    let (label, counter) = (label.to_owned(), counter.clone());
    rows.insert(place, Row { id, counter, label, unit, depth, thread, patient, end: None });
    if !patient && is_due() {
        boards.current.draw();
    }
    (id, depth)
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

/// Ends a row, or forgets it if it was too short to be of interest.
pub(super) fn end(id: u64, state: ProgressState, brief: bool) {
    let mut boards = boards();
    let Some(board) = boards.all().find(|board| board.rows.iter().any(|row| row.id == id)) else { return };
    let Some(index) = board.rows.iter().position(|row| row.id == id) else { return };
    // What ended well within another bar makes way for the next; what did not says why.
    let forgotten = brief || (state.outcome == Outcome::Done && state.depth > 0);
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
}

impl Boards {
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
        if !in_notebook() || !is_interactive() {
            return;
        }
        let shown = |row: &&Row| !row.patient || row.end.is_some() || row.counter.elapsed() >= PATIENCE;
        let states: Vec<ProgressState> = self.rows.iter().filter(shown).map(Row::state).collect();
        if !states.is_empty() {
            self.display.get_or_insert_with(Updating::new).redraw(&progress_bundle(&states));
            DUE.store(now_ms() + INTERVAL_MS, Ordering::Relaxed);
        }
    }
}

impl Row {
    fn state(&self) -> ProgressState {
        let running = || ProgressState::of(&self.counter, &self.label, self.unit, self.depth, Outcome::Running);
        self.end.clone().unwrap_or_else(running)
    }
}
