//! Reads files into frames of two columns: the row in the file, and its text.

use std::path::Path;

use polars::prelude::{
    ArrowDataType, Column, DataFrame, DataType, IntoLazy, PlSmallStr, PolarsError, PolarsResult, Schema, col, lit,
};
use polars_io::mmap::MmapBytesReader;
use polars_io::prelude::{CsvReadOptions, JsonFormat, JsonReader, ParquetReader, SerReader};

use super::DatasetError;
use super::declaration::{Format, Settings};
use super::error::closest;
use super::project::{DatasetConfig, Home};
use super::rows::TextColumns;
use super::{chats, source};
use crate::diagnostic::foreign;

/// Returns the documents of one file: `row` (counted from 1) and `text`, rows without text left out.
///
/// # Errors
/// [`DatasetError`] with file, column and row.
pub(super) fn documents(config: &DatasetConfig, file: &Path, most: Option<usize>) -> Result<DataFrame, DatasetError> {
    let settings = &config.settings;
    let place = file.display().to_string();
    let format = match settings.format.or_else(|| Format::of(&place)) {
        Some(format) => format,
        None => {
            return Err(DatasetError::Content {
                what: "the file's name does not say what it holds".to_owned(),
                place,
                advice: "add `format: text`, `jsonlines`, `json`, `parquet`, `csv` or `tsv` to the configuration"
                    .to_owned(),
            });
        }
    };
    if let (Some(column), Home::Folder(_)) = (&settings.messages, &config.home) {
        return chats::documents(file, format, column, most);
    }
    let frame = match (&config.home, format) {
        (Home::Builtin(builtin), _) => plain(builtin.text(file).unwrap_or_default(), settings, &place)?,
        (Home::Folder(_), Format::Text) => plain(&utf8(file)?, settings, &place)?,
        (Home::Folder(_), format) => return table(file, format, settings, &place, most),
    };
    Ok(match most {
        Some(most) => frame.head(Some(most)),
        None => frame,
    })
}

fn utf8(file: &Path) -> Result<String, DatasetError> {
    let bytes = source::bytes(file)?;
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        DatasetError::Content {
            what: "the file is not UTF-8 text".to_owned(),
            place: format!("{}, line {}", file.display(), 1 + good.iter().filter(|&&byte| byte == b'\n').count()),
            advice: "convert it, for example with `iconv -t utf-8`, or name its format".to_owned(),
        }
    })
}

/// Plain text, divided into documents; `row` is the line on which a document begins.
fn plain(text: &str, settings: &Settings, place: &str) -> Result<DataFrame, DatasetError> {
    let text = text.replace("\r\n", "\n");
    let pieces: Vec<(usize, &str)> = match settings.separator.as_str() {
        "file" => vec![(0, text.as_str())],
        "line" => divided(&text, "\n"),
        "blank_line" => divided(&text, "\n\n"),
        "" => {
            return Err(DatasetError::Content {
                what: "the separator of documents is empty".to_owned(),
                place: place.to_owned(),
                advice: "use `file`, `line`, `blank_line` or another text".to_owned(),
            });
        }
        other => divided(&text, other),
    };
    let mut rows = Vec::new();
    let mut texts = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for (start, piece) in pieces {
        let trimmed = piece.trim();
        if trimmed.is_empty() {
            continue;
        }
        let begins = start + (piece.len() - piece.trim_start().len());
        line += text[counted..begins].matches('\n').count() as u64;
        counted = begins;
        rows.push(line);
        texts.push(trimmed.to_owned());
    }
    DataFrame::new_infer_height(vec![Column::new("row".into(), rows), Column::new("text".into(), texts)])
        .map_err(|error| unreadable(place, &error))
}

/// Returns the pieces between separators, each with its offset.
fn divided<'a>(text: &'a str, separator: &str) -> Vec<(usize, &'a str)> {
    text.split(separator).map(|piece| (piece.as_ptr() as usize - text.as_ptr() as usize, piece)).collect()
}

/// Files of rows and columns.
fn table(
    file: &Path,
    format: Format,
    settings: &Settings,
    place: &str,
    most: Option<usize>,
) -> Result<DataFrame, DatasetError> {
    let rows = TextColumns::new(&settings.text, place)?;
    let fault = |error: polars::prelude::PolarsError| malformed(file, format, place, &error);
    // JSON tells its columns only when all of it was read.
    let lines = matches!(format, Format::JsonLines | Format::Json);
    let whole = if lines { Some(read(file, format, None, None)?.map_err(fault)?) } else { None };
    let kinds: Vec<(String, Kind)> = match (&whole, format) {
        (Some(frame), _) => Kind::all(frame.schema()),
        (None, Format::Parquet) => parquet_columns(source::table(file, format)?).map_err(fault)?,
        (None, _) => Kind::all(read(file, format, None, Some(0))?.map_err(fault)?.schema()),
    };
    let known: Vec<String> = kinds.iter().map(|(name, _)| name.clone()).collect();
    for column in rows.columns() {
        if !known.contains(column) {
            return Err(DatasetError::Column {
                column: column.clone(),
                file: place.to_owned(),
                hint: closest(column, &known),
                known: known.join(", "),
            });
        }
        let kind = kinds.iter().find(|(name, _)| name == column).map(|(_, kind)| kind);
        let wrong = |holds: &str, advice: String| {
            let (what, place) = (format!("column `{column}` holds {holds}, not text"), place.to_owned());
            Err(DatasetError::Content { what, place, advice })
        };
        match kind {
            Some(Kind::Numbers(holds)) if rows.is_plain() => {
                let advice = "name a column of text, or write a template such as";
                return wrong(holds, format!("{advice} `{{{{ {column} }}}}` for numbers"));
            }
            Some(Kind::Other(holds)) => {
                return wrong(holds, "name a column of text, or store this one as text, int64 or float64".to_owned());
            }
            _ => {}
        }
    }
    let columns: Vec<PlSmallStr> = rows.columns().iter().map(PlSmallStr::from).collect();
    let mut limit = most;
    let frame = loop {
        let frame = match &whole {
            Some(frame) => frame.clone(),
            None => read(file, format, Some(&columns), limit)?.map_err(fault)?,
        };
        let ended = whole.is_some() || limit.is_none_or(|limit| frame.height() < limit);
        let frame = chosen(frame, &rows, most).map_err(fault)?;
        // Rows without text do not count, so more rows may be needed.
        if ended || most.is_none_or(|most| frame.height() >= most) {
            break frame;
        }
        limit = limit.map(|limit| limit.saturating_mul(4).max(1024));
    };
    let frame = rows.texts(frame, place)?;
    // Row indices count in the unsigned type polars was built with; the files of one dataset must agree.
    let frame = frame.lazy().with_column(col("row").cast(DataType::UInt64)).filter(col("text").neq(lit("")));
    frame.collect().map_err(fault)
}

/// Named so that no file has a column of this name.
const INDEX: &str = "chandlery row index";

/// Columns get a prefix so that one called `row` cannot collide with ours.
pub(super) fn named(column: &str) -> String {
    format!("column {column}")
}

/// What a column holds.
enum Kind {
    Text,
    /// Single values that a template can show; what they are.
    Numbers(String),
    /// What cannot be read here; what it is.
    Other(String),
}

impl Kind {
    fn of(kind: &DataType) -> Self {
        match kind {
            DataType::String | DataType::Null => Self::Text,
            other if other.is_nested() => Self::Other(other.to_string()),
            other => Self::Numbers(other.to_string()),
        }
    }

    fn all(schema: &Schema) -> Vec<(String, Self)> {
        schema.iter().map(|(name, kind)| (name.to_string(), Self::of(kind))).collect()
    }
}

/// Returns the columns of a Parquet file by its metadata. polars panics when it is asked for the type of a column that it
/// was built without, so only types that it has are turned into its own.
fn parquet_columns(file: Box<dyn MmapBytesReader>) -> PolarsResult<Vec<(String, Kind)>> {
    use ArrowDataType as A;
    let schema = ParquetReader::new(file).schema()?;
    let kind = |dtype: &A| match dtype {
        A::Null | A::Utf8 | A::LargeUtf8 | A::Utf8View => Kind::Text,
        A::Boolean | A::Float32 | A::Float64 => Kind::of(&DataType::from_arrow_dtype(dtype)),
        A::Int8 | A::Int16 | A::Int32 | A::Int64 => Kind::of(&DataType::from_arrow_dtype(dtype)),
        A::UInt32 | A::UInt64 => Kind::of(&DataType::from_arrow_dtype(dtype)),
        A::Date32 | A::Date64 | A::Timestamp(_, None) => Kind::of(&DataType::from_arrow_dtype(dtype)),
        other => Kind::Other(arrow_name(other)),
    };
    Ok(schema.iter().map(|(name, field)| (name.to_string(), kind(&field.dtype))).collect())
}

/// Returns the name that Arrow gives a type.
fn arrow_name(dtype: &ArrowDataType) -> String {
    use ArrowDataType as A;
    match dtype {
        A::Dictionary(_, values, _) => format!("categories (a dictionary of {})", arrow_name(values)),
        A::Decimal(precision, scale) | A::Decimal256(precision, scale) => format!("decimal({precision}, {scale})"),
        A::Decimal32(precision, scale) | A::Decimal64(precision, scale) => format!("decimal({precision}, {scale})"),
        A::List(of) | A::LargeList(of) | A::FixedSizeList(of, _) => format!("lists of {}", arrow_name(&of.dtype)),
        A::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{}: {}", field.name, arrow_name(&field.dtype)));
            format!("records of {}", fields.collect::<Vec<_>>().join(", "))
        }
        A::Map(..) => "maps".to_owned(),
        A::Utf8 | A::LargeUtf8 | A::Utf8View => "text".to_owned(),
        A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_) => "bytes".to_owned(),
        A::Timestamp(_, Some(zone)) => format!("times in the zone {zone}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Returns the rows with text, numbered from 1 as in the file, at most `most` of them.
fn chosen(frame: DataFrame, rows: &TextColumns, most: Option<usize>) -> PolarsResult<DataFrame> {
    let mut wanted = vec![col(INDEX).alias("row")];
    wanted.extend(rows.columns().iter().map(|column| col(column.as_str()).cast(DataType::String).alias(named(column))));
    let mut frame = frame.lazy().with_row_index(INDEX, Some(1)).select(wanted);
    if rows.is_plain() {
        frame = frame.filter(col(named(&rows.columns()[0])).is_not_null());
    }
    if let Some(most) = most {
        frame = frame.limit(most as u32);
    }
    frame.collect()
}

/// Returns the first `most` rows of a file, of these columns only.
fn read(
    file: &Path,
    format: Format,
    columns: Option<&[PlSmallStr]>,
    most: Option<usize>,
) -> Result<PolarsResult<DataFrame>, DatasetError> {
    let source = source::table(file, format)?;
    Ok(match format {
        Format::Parquet => ParquetReader::new(source)
            .with_columns(columns.map(|columns| columns.iter().map(ToString::to_string).collect()))
            .with_slice(most.map(|most| (0, most)))
            .finish(),
        // Everything is text here, so no types are guessed.
        Format::Csv | Format::Tsv => CsvReadOptions::default()
            .map_parse_options(|options| options.with_separator(if format == Format::Tsv { b'\t' } else { b',' }))
            .with_infer_schema_length(Some(0))
            .with_columns(columns.map(Into::into))
            .with_n_rows(most)
            .into_reader_with_file_handle(source)
            .finish(),
        Format::JsonLines | Format::Json | Format::Text => {
            JsonReader::new(source).with_json_format(JsonFormat::JsonLines).infer_schema_len(None).finish()
        }
    })
}

fn malformed(file: &Path, format: Format, place: &str, error: &PolarsError) -> DatasetError {
    // polars does not say which line of a JSON file is wrong.
    let line = match format {
        Format::JsonLines => utf8(file).ok().and_then(|text| {
            let bad =
                |line: &str| !line.trim().is_empty() && serde_json::from_str::<serde_json::Map<_, _>>(line).is_err();
            Some((1 + text.lines().position(bad)?).to_string())
        }),
        _ => None,
    };
    match line {
        Some(line) => DatasetError::Content {
            what: "the line is not a JSON object".to_owned(),
            place: format!("{place}, line {line}"),
            advice: "write one object per line, such as {\"text\": \"…\"}".to_owned(),
        },
        None => unreadable(place, error),
    }
}

pub(super) fn unreadable(place: &str, error: &PolarsError) -> DatasetError {
    let reason = foreign::first_line(error);
    let reason = reason.trim_end_matches('.');
    DatasetError::Content {
        what: format!("the file cannot be read: {reason}"),
        place: place.to_owned(),
        advice: "check that it holds what `format` or its name says, and make it again if it is damaged".to_owned(),
    }
}
