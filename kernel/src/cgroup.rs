//! Control groups, which the toolkit reads as well.

pub(crate) use chandlery::cgroup::MemoryGroups;
