//! A zip of stored entries, written as torch lays it out: every entry's bytes begin at a multiple of 64.
//!
//! Formats: PKWARE APPNOTE 6.3.9, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14-16 (ends), 4.5.3 (zip64).

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc32fast::Hasher;

use crate::checkpoint::CheckpointError;
use crate::interrupt;

/// The alignment of torch's storages, so that they can be mapped.
const ALIGNMENT: u64 = 64;
/// From this value on the 32-bit fields refer to the 64-bit ones.
const WIDE: u64 = u32::MAX as u64;
const BLOCK: u64 = 4 << 20;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
/// 1 January 1980: equal contents make equal files.
const DATE: u16 = 0x21;

struct Entry {
    name: String,
    crc: u32,
    size: u64,
    header: u64,
}

/// A zip under construction. The file has to be open for reading, too: checksums are taken of what was written.
pub(in crate::checkpoint) struct ZipFile<'a> {
    file: &'a File,
    path: &'a Path,
    entries: Vec<Entry>,
    /// Where the next header goes.
    end: u64,
}

impl<'a> ZipFile<'a> {
    pub(in crate::checkpoint) fn new(file: &'a File, path: &'a Path) -> Self {
        Self { file, path, entries: Vec::new(), end: 0 }
    }

    /// An entry with this content.
    pub(in crate::checkpoint) fn add(&mut self, name: &str, content: &[u8]) -> Result<(), CheckpointError> {
        let path = self.path;
        self.stream(name, content.len() as u64, |out| {
            out.write_all(content).map_err(CheckpointError::io("writing", path))
        })
    }

    /// An entry of `size` bytes that `write` puts at the file's position, wherever they come from. They do not pass
    /// through this process if the kernel can copy them; their checksum is read back, mostly out of the page cache.
    pub(in crate::checkpoint) fn stream(
        &mut self,
        name: &str,
        size: u64,
        write: impl FnOnce(&mut &File) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let header = self.end;
        let bytes = local_header(name, size, header);
        let start = header + bytes.len() as u64;
        let mut out = self.file;
        out.write_all(&bytes).map_err(CheckpointError::io("writing", self.path))?;
        write(&mut out)?;
        let end = out.stream_position().map_err(CheckpointError::io("writing", self.path))?;
        if end != start + size {
            let source = std::io::Error::other(format!("entry {name} has {} bytes, expected {size}", end - start));
            return Err(CheckpointError::io("writing", self.path)(source));
        }
        let crc = self.checksum(start, size)?;
        // 4.3.7: the checksum's place in the local header.
        self.file.write_all_at(&crc.to_le_bytes(), header + 14).map_err(CheckpointError::io("writing", self.path))?;
        self.entries.push(Entry { name: name.to_owned(), crc, size, header });
        self.end = end;
        Ok(())
    }

    fn checksum(&self, start: u64, size: u64) -> Result<u32, CheckpointError> {
        let mut crc = Hasher::new();
        let mut buffer = vec![0u8; size.min(BLOCK) as usize];
        let mut done = 0;
        while done < size {
            interrupt::check()?;
            let block = &mut buffer[..(size - done).min(BLOCK) as usize];
            self.file.read_exact_at(block, start + done).map_err(CheckpointError::io("reading back", self.path))?;
            crc.update(block);
            done += block.len() as u64;
        }
        Ok(crc.finalize())
    }

    /// Writes the directory.
    pub(in crate::checkpoint) fn finish(self) -> Result<(), CheckpointError> {
        let mut directory = Vec::new();
        for entry in &self.entries {
            let wide = entry.size >= WIDE || entry.header >= WIDE;
            let mut extra = Vec::new();
            if wide {
                put16(&mut extra, &[1, 24]);
                put64(&mut extra, &[entry.size, entry.size, entry.header]);
            }
            let size = if wide { u32::MAX } else { entry.size as u32 };
            let version = if wide { 45 } else { 20 };
            put32(&mut directory, &[0x0201_4b50]);
            put16(&mut directory, &[version, version, FLAGS, 0, 0, DATE]);
            put32(&mut directory, &[entry.crc, size, size]);
            put16(&mut directory, &[entry.name.len() as u16, extra.len() as u16, 0, 0, 0]);
            put32(&mut directory, &[0, if wide { u32::MAX } else { entry.header as u32 }]);
            directory.extend_from_slice(entry.name.as_bytes());
            directory.extend_from_slice(&extra);
        }
        let (count, length, at) = (self.entries.len() as u64, directory.len() as u64, self.end);
        if count >= u64::from(u16::MAX) || length >= WIDE || at >= WIDE {
            let record = at + length;
            put32(&mut directory, &[0x0606_4b50]);
            put64(&mut directory, &[44]);
            put16(&mut directory, &[45, 45]);
            put32(&mut directory, &[0, 0]);
            put64(&mut directory, &[count, count, length, at]);
            put32(&mut directory, &[0x0706_4b50, 0]);
            put64(&mut directory, &[record]);
            put32(&mut directory, &[1]);
        }
        let count = count.min(u64::from(u16::MAX)) as u16;
        put32(&mut directory, &[0x0605_4b50]);
        put16(&mut directory, &[0, 0, count, count]);
        put32(&mut directory, &[length.min(WIDE) as u32, at.min(WIDE) as u32]);
        put16(&mut directory, &[0]);
        let mut out = self.file;
        out.seek(SeekFrom::Start(at)).map_err(CheckpointError::io("writing", self.path))?;
        out.write_all(&directory).map_err(CheckpointError::io("writing", self.path))
    }
}

/// Returns the header before an entry's bytes, padded so that these begin at a multiple of [`ALIGNMENT`]. Its checksum is
/// zero.
fn local_header(name: &str, size: u64, at: u64) -> Vec<u8> {
    let mut extra = Vec::new();
    if size >= WIDE {
        put16(&mut extra, &[1, 16]);
        put64(&mut extra, &[size, size]);
    }
    // torch's own padding: an extra field `FB` of as many bytes as it takes.
    let before = at + 30 + (name.len() + extra.len() + 4) as u64;
    let padding = before.next_multiple_of(ALIGNMENT) - before;
    extra.extend_from_slice(b"FB");
    put16(&mut extra, &[padding as u16]);
    extra.resize(extra.len() + padding as usize, b'Z');
    let (version, size) = if size >= WIDE { (45, u32::MAX) } else { (20, size as u32) };
    let mut header = Vec::new();
    put32(&mut header, &[0x0403_4b50]);
    put16(&mut header, &[version, FLAGS, 0, 0, DATE]);
    put32(&mut header, &[0, size, size]);
    put16(&mut header, &[name.len() as u16, extra.len() as u16]);
    header.extend_from_slice(name.as_bytes());
    header.extend_from_slice(&extra);
    header
}

fn put16(out: &mut Vec<u8>, numbers: &[u16]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, numbers: &[u64]) {
    out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A new file that is removed after the test.
    struct Scratch(std::path::PathBuf, File);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("chandlery-{}-{name}", std::process::id()));
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
            Self(path, file)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_zip_reader_reads_the_entries_with_their_checksums() {
        let scratch = Scratch::new("small.zip");
        let Scratch(path, file) = &scratch;
        let mut zip = ZipFile::new(file, path);
        zip.add("x/first", b"hello").unwrap();
        zip.add("x/empty", b"").unwrap();
        zip.stream("x/long", 100_000, |out| {
            out.write_all(&[7u8; 100_000]).map_err(CheckpointError::io("writing", Path::new("x")))
        })
        .unwrap();
        zip.finish().unwrap();
        let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
        for (name, expected) in [("x/first", b"hello".to_vec()), ("x/empty", Vec::new()), ("x/long", vec![7; 100_000])]
        {
            let mut entry = archive.by_name(name).unwrap();
            assert_eq!(entry.data_start().unwrap() % ALIGNMENT, 0);
            let mut found = Vec::new();
            // Reading to the end compares the checksum.
            entry.read_to_end(&mut found).unwrap();
            assert!(found == expected, "{name}");
        }
    }

    #[test]
    fn entries_beyond_four_gibibytes_use_the_wide_fields() {
        let scratch = Scratch::new("wide.zip");
        let Scratch(path, file) = &scratch;
        let mut zip = ZipFile::new(file, path);
        // A hole in a sparse file takes no space; its checksum is not taken, because that alone would take seconds.
        let size = WIDE + 10;
        zip.entries.push(Entry { name: "hole".to_owned(), crc: 0, size, header: 0 });
        { file }.write_all(&local_header("hole", size, 0)).unwrap();
        zip.end = { file }.seek(SeekFrom::Current(size as i64)).unwrap();
        zip.add("after", b"the hole").unwrap();
        zip.finish().unwrap();
        let mut archive = zip::ZipArchive::new(File::open(path).unwrap()).unwrap();
        assert_eq!(archive.by_name("hole").unwrap().size(), size);
        let mut found = String::new();
        archive.by_name("after").unwrap().read_to_string(&mut found).unwrap();
        assert_eq!(found, "the hole");
    }
}
