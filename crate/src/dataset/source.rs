//! The bytes of a dataset's file, decompressed if its name says so.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use polars_io::mmap::MmapBytesReader;
use serde_json::Value;

use super::DatasetError;
use super::declaration::{Compression, Format};

/// Opens a file to be read from its beginning to its end, a little at a time.
pub(super) fn stream(file: &Path) -> Result<Box<dyn BufRead>, DatasetError> {
    let fault = |error| DatasetError::io("reading", file, error);
    let opened = File::open(file).map_err(fault)?;
    Ok(match Compression::of(&file.display().to_string()) {
        None => Box::new(BufReader::new(opened)),
        Some(Compression::Gzip) => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(opened))),
        Some(Compression::Zstd) => Box::new(BufReader::new(zstd::stream::read::Decoder::new(opened).map_err(fault)?)),
    })
}

/// Reads a whole file.
pub(super) fn bytes(file: &Path) -> Result<Vec<u8>, DatasetError> {
    let mut bytes = Vec::new();
    stream(file)?.read_to_end(&mut bytes).map_err(|error| DatasetError::io("reading", file, error))?;
    Ok(bytes)
}

/// Opens a file for a reader of tables: as it is, or decompressed in memory. A list of JSON becomes a line for each object.
pub(super) fn table(file: &Path, format: Format) -> Result<Box<dyn MmapBytesReader>, DatasetError> {
    if format == Format::Json {
        let mut lines = Vec::new();
        for record in records(file, format)? {
            lines.extend_from_slice(record?.1.to_string().as_bytes());
            lines.push(b'\n');
        }
        return Ok(Box::new(Cursor::new(lines)));
    }
    if Compression::of(&file.display().to_string()).is_some() {
        return Ok(Box::new(Cursor::new(bytes(file)?)));
    }
    Ok(Box::new(File::open(file).map_err(|error| DatasetError::io("reading", file, error))?))
}

type Records = Box<dyn Iterator<Item = Result<(u64, Value), DatasetError>>>;

/// Returns the objects of a JSON file with their numbers, counted from 1: of lines one after the other, of a list all at once.
pub(super) fn records(file: &Path, format: Format) -> Result<Records, DatasetError> {
    let place = file.display().to_string();
    if format == Format::JsonLines {
        let path = file.to_owned();
        let lines = stream(file)?.lines().enumerate().map(move |(at, line)| {
            Ok((at as u64 + 1, line.map_err(|error| DatasetError::io("reading", &path, error))?))
        });
        let read = move |line: Result<(u64, String), DatasetError>| match line {
            Ok((_, line)) if line.trim().is_empty() => None,
            Ok((at, line)) => Some(serde_json::from_str(&line).map(|value| (at, value)).map_err(|error| {
                let place = format!("{place}, line {at}");
                let advice = "write one object per line".to_owned();
                DatasetError::Content { what: format!("the line is not JSON: {error}"), place, advice }
            })),
            Err(error) => Some(Err(error)),
        };
        return Ok(Box::new(lines.filter_map(read)));
    }
    let parsed: Value = serde_json::from_slice(&bytes(file)?).map_err(|error| DatasetError::Content {
        what: format!("the file is not JSON: {error}"),
        place: format!("{place}, line {}", error.line()),
        advice: "correct that line".to_owned(),
    })?;
    // Some files have one list under a name.
    let list = match parsed {
        Value::Array(list) => Some(list),
        Value::Object(fields) => {
            let mut lists = fields.into_iter().filter_map(|(_, value)| match value {
                Value::Array(list) if list.iter().all(Value::is_object) => Some(list),
                _ => None,
            });
            lists.next().filter(|_| lists.next().is_none())
        }
        _ => None,
    };
    let list = list.filter(|list| list.iter().all(Value::is_object)).ok_or_else(|| DatasetError::Content {
        what: "the file is not a list of objects".to_owned(),
        place,
        advice: "write a list such as [{\"text\": \"…\"}], or one object per line in a file that ends in .jsonl"
            .to_owned(),
    })?;
    Ok(Box::new(list.into_iter().enumerate().map(|(at, value)| Ok((at as u64 + 1, value)))))
}
