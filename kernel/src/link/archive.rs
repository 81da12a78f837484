//! Crates as files: archives of objects, some of which are not compiled from Rust.

use std::collections::BTreeSet;
use std::path::Path;

use object::elf::{STB_LOCAL, STV_DEFAULT, STV_PROTECTED};
use object::read::archive::ArchiveFile;
use object::read::elf::{ElfFile64, FileHeader, Sym};
use object::{Endianness, Object};

/// The bytes of an archive.
pub(super) struct Archive(Vec<u8>);

/// A symbol that an object defines.
struct Symbol {
    name: Vec<u8>,
    /// Where the archive stores its visibility.
    at: usize,
    hidden: bool,
}

/// The offset of the visibility in an entry of a symbol table.
const VISIBILITY: usize = 5;

impl Archive {
    /// Reads an archive; `None` if it cannot be read, or is of another kind.
    pub(super) fn read(file: &Path) -> Option<Self> {
        let archive = Self(std::fs::read(file).ok()?);
        ArchiveFile::parse(&*archive.0).ok()?;
        Some(archive)
    }

    /// Name, start and content of each file in it.
    fn members(&self) -> impl Iterator<Item = (&[u8], usize, &[u8])> {
        let archive = ArchiveFile::parse(&*self.0).ok();
        archive.into_iter().flat_map(|archive| {
            archive.members().filter_map(Result::ok).filter_map(|member| {
                let (start, _) = member.file_range();
                Some((member.name(), usize::try_from(start).ok()?, member.data(&*self.0).ok()?))
            })
        })
    }

    /// Returns the crate's metadata.
    pub(super) fn metadata(&self) -> impl Iterator<Item = &[u8]> {
        self.members().filter(|(name, ..)| *name == b"lib.rmeta").map(|(_, _, text)| text)
    }

    fn foreign(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let members = self.members().filter(|(name, ..)| !name.ends_with(b".rcgu.o") && *name != b"lib.rmeta");
        members.map(|(_, start, data)| (start, data))
    }

    /// Returns whether it contains an object that is not compiled from Rust.
    pub(super) fn has_foreign(&self) -> bool {
        self.foreign().next().is_some()
    }

    fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.foreign().flat_map(|(start, data)| symbols(start, data).unwrap_or_default())
    }

    /// Returns the symbols that C code in it exports.
    pub(super) fn defined(&self) -> BTreeSet<Vec<u8>> {
        self.symbols().map(|symbol| symbol.name).collect()
    }

    /// Returns the archive with these symbols visible, if any of them is hidden.
    pub(super) fn with_visible(&self, names: &BTreeSet<Vec<u8>>) -> Option<Vec<u8>> {
        let hidden: Vec<usize> = self
            .symbols()
            .filter(|symbol| symbol.hidden && names.contains(&symbol.name))
            .map(|symbol| symbol.at)
            .collect();
        let mut bytes = self.0.clone();
        for at in &hidden {
            // Visible to others; what refers to it within the library was compiled for a symbol that stays there.
            bytes[*at] = bytes[*at] & !3 | STV_PROTECTED;
        }
        (!hidden.is_empty()).then_some(bytes)
    }
}

fn symbols(start: usize, data: &[u8]) -> Option<Vec<Symbol>> {
    let elf = ElfFile64::<Endianness>::parse(data).ok()?;
    let endian = elf.elf_header().endian().ok()?;
    if elf.kind() != object::ObjectKind::Relocatable {
        return None;
    }
    let table = elf.elf_symbol_table();
    let names = table.strings();
    let found = table.iter().filter(|symbol| symbol.st_bind() != STB_LOCAL && !symbol.is_undefined(endian));
    let found = found.filter_map(|symbol| {
        let at = std::ptr::from_ref(symbol).addr().checked_sub(data.as_ptr().addr())?;
        let name = symbol.name(endian, names).ok()?.to_vec();
        Some(Symbol { name, at: start + at + VISIBILITY, hidden: symbol.st_visibility() != STV_DEFAULT })
    });
    Some(found.collect())
}

/// Returns those of these names that occur in a crate's metadata, in which names are plain text.
pub(super) fn named(metadata: &[u8], names: &BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>> {
    let part_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
    let words = metadata.split(|byte| !part_of_name(byte)).filter(|word| !word.is_empty());
    // A name's length stands before it, and may look like a letter.
    words.flat_map(|word| [word, &word[1..]]).filter(|word| names.contains(*word)).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_metadata_whatever_their_length_looks_like() {
        let names: BTreeSet<Vec<u8>> = [&b"cadd_sum"[..], b"other", b"sum"].map(<[u8]>::to_vec).into();
        let found = named(b"\0\x08cadd_sum\xc1Aother\xc1\x03sums\xc1", &names);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [b"cadd_sum".to_vec(), b"other".to_vec()]);
    }
}
