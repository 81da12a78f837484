
mod cells;
