//! What a compiled notebook cell links to: the variable store, `?` errors, and the display of a cell's last value.
