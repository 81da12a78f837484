//! Weights files: both formats written and read back bit for bit, and PyTorch files that are not what they should be.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use chandlery::checkpoint::{Checkpoint, CheckpointError, ShardPlan, TensorSource, WeightsFormat};
use chandlery::spec::{DType, ParamPath, TensorRow, TensorTable};
use tempfile::tempdir;

use crate::construct::row;

/// Bytes that depend on a tensor's name and place.
pub(crate) struct Numbered;

fn bytes_of(row: &TensorRow) -> Vec<u8> {
    let begin = row.path.as_str().bytes().map(u32::from).sum::<u32>();
    let bytes = (0..row.elements() * row.dtype.bytes() as u64).map(|at| (u64::from(begin) + at * 37 % 251) as u8);
    if row.dtype == DType::Bool { bytes.map(|byte| byte & 1).collect() } else { bytes.collect() }
}

impl TensorSource for Numbered {
    fn append(&self, rows: &[TensorRow], out: &mut &File, _: &Path) -> Result<(), CheckpointError> {
        rows.iter().for_each(|row| out.write_all(&bytes_of(row)).unwrap());
        Ok(())
    }
}

fn every_type() -> Vec<TensorRow> {
    let types = [
        ("f32", DType::F32),
        ("bf16", DType::BF16),
        ("f16", DType::F16),
        ("f64", DType::F64),
        ("i64", DType::I64),
        ("i32", DType::I32),
        ("i16", DType::I16),
        ("i8", DType::I8),
        ("u8", DType::U8),
        ("bool", DType::Bool),
    ];
    let mut rows: Vec<TensorRow> = types.map(|(name, dtype)| row(name, &[3, 70], dtype)).into();
    rows.push(row("scalar", &[], DType::F32));
    rows.push(row("empty", &[0, 4], DType::F32));
    rows.push(TensorRow { tied_to: Some("f32".into()), ..row("alias", &[3, 70], DType::F32) });
    rows
}

#[test]
fn every_type_survives_both_formats_bit_for_bit() {
    for (format, names) in [(WeightsFormat::Safetensors, 12), (WeightsFormat::Pytorch, 13)] {
        for limit in [u64::MAX, 500] {
            let temp = tempdir().unwrap();
            let plan = ShardPlan::with_format(every_type(), limit, format);
            let written = plan.write(temp.path(), &Numbered).unwrap();
            assert_eq!(written.files.len() > 1, limit == 500, "{written:?}");
            let checkpoint = Checkpoint::open(temp.path()).unwrap();
            assert_eq!(checkpoint.table().len(), names, "{format:?}");
            for row in every_type() {
                let stored = row.tied_to.clone().unwrap_or(row.path.clone());
                let path = if format == WeightsFormat::Safetensors { &stored } else { &row.path };
                let found = checkpoint.read(path).unwrap();
                let expected = bytes_of(&TensorRow { path: stored.clone(), tied_to: None, ..row.clone() });
                assert_eq!((found.dtype, &found.shape), (row.dtype, &row.shape), "{path}");
                assert!(found.bytes == expected, "{path}");
            }
        }
    }
}

#[test]
fn a_pytorch_file_is_a_zip_whose_checksums_and_alignment_hold() {
    let temp = tempdir().unwrap();
    ShardPlan::with_format(every_type(), u64::MAX, WeightsFormat::Pytorch).write(temp.path(), &Numbered).unwrap();
    let file = File::open(temp.path().join("pytorch_model.bin")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        assert_eq!(entry.data_start().unwrap() % 64, 0);
        // Fails if the checksum does.
        std::io::copy(&mut entry, &mut std::io::sink()).unwrap();
    }
}

#[test]
fn a_type_that_a_format_cannot_store_names_the_tensor() {
    let temp = tempdir().unwrap();
    let plan = ShardPlan::with_format([row("tiny", &[4], DType::F8E4M3)], u64::MAX, WeightsFormat::Pytorch);
    let error = plan.write(temp.path(), &Numbered).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(temp.path().to_str().unwrap(), "[temp]"));
}

/// A pickle put together by hand, opcode by opcode.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    /// Two rows of three numbers of storage 0, `offset` elements in, with these strides.
    fn tensor(self, name: &str, storage: &str, offset: u8, strides: [u8; 2]) -> Self {
        self.text(name)
            .global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", storage)
            .text("0")
            .text("cpu")
            .raw(b"K\x0ctQ")
            .raw(&[b'K', offset, b'K', 2, b'K', 3, 0x86, b'K', strides[0], b'K', strides[1], 0x86, 0x89])
            .global("collections", "OrderedDict")
            .raw(b")RtR")
    }

    fn dictionary(inside: impl FnOnce(Self) -> Self) -> Self {
        inside(Self::default().raw(b"\x80\x02}(")).raw(b"u.")
    }

    /// Into a file with a storage of twelve float32, 0 to 11.
    fn save(&self, folder: &Path) -> PathBuf {
        let path = folder.join("pytorch_model.bin");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file("archive/data.pkl", stored).unwrap();
        zip.write_all(&self.0).unwrap();
        zip.start_file("archive/data/0", stored).unwrap();
        for number in 0..12 {
            zip.write_all(&(number as f32).to_le_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }
}

fn opened(pickle: Pickle) -> Result<Checkpoint, String> {
    let temp = tempdir().unwrap();
    let path = pickle.save(temp.path());
    Checkpoint::open(&path).map_err(|error| error.to_string().replace(temp.path().to_str().unwrap(), "[temp]"))
}

fn numbers(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let bytes = checkpoint.read(&ParamPath::from(name)).unwrap().bytes;
    bytes.chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap())).collect()
}

#[test]
fn rows_of_a_larger_storage_are_read_from_their_place() {
    let checkpoint = opened(Pickle::dictionary(|inside| inside.tensor("w", "FloatStorage", 3, [3, 1]))).unwrap();
    assert_eq!(numbers(&checkpoint, "w"), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
}

#[test]
fn a_state_dict_in_a_training_checkpoint_is_found() {
    for key in ["state_dict", "model_state_dict", "model", "module"] {
        let pickle = Pickle::dictionary(|outer| {
            outer.text("step").raw(b"K\x05").text(key).raw(b"}(").tensor("w", "FloatStorage", 0, [3, 1]).raw(b"u")
        });
        let checkpoint = opened(pickle).unwrap();
        assert_eq!((checkpoint.nested_in(), checkpoint.table().len()), (Some(key), 1));
    }
}

#[test]
fn attributes_and_parameters_of_torch_modules_are_read() {
    let pickle = Pickle::default()
        .raw(b"\x80\x02")
        .global("collections", "OrderedDict")
        .raw(b")R(")
        .text("w")
        .global("torch._utils", "_rebuild_parameter")
        .raw(b"(");
    // _rebuild_parameter(tensor, requires_grad, hooks): the tensor without the name before it.
    let tensor = Pickle::default().tensor("", "FloatStorage", 0, [3, 1]).0[5..].to_vec();
    let pickle = pickle.raw(&tensor).raw(b"\x88}tRu}").text("_metadata").raw(b"}sb.");
    assert_eq!(opened(pickle).unwrap().table().len(), 1);
}

#[test]
fn the_last_of_equal_names_counts_as_in_python() {
    let pickle = Pickle::dictionary(|inside| {
        inside.tensor("w", "FloatStorage", 0, [3, 1]).tensor("w", "FloatStorage", 6, [3, 1])
    });
    assert_eq!(numbers(&opened(pickle).unwrap(), "w")[0], 6.0);
}

#[test]
fn views_that_are_not_row_by_row_are_read_in_order() {
    for (strides, expected) in [
        ([6, 1], [0.0, 1.0, 2.0, 6.0, 7.0, 8.0]), // columns of a wider matrix
        ([1, 2], [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]), // a transpose
        ([0, 1], [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]), // a row that is repeated
    ] {
        let checkpoint = opened(Pickle::dictionary(|inside| inside.tensor("w", "FloatStorage", 0, strides))).unwrap();
        assert_eq!(numbers(&checkpoint, "w"), expected, "{strides:?}");
        let mut blocks = checkpoint.blocks(&"w".into(), 8).unwrap();
        let mut first = Vec::new();
        while let Some(block) = blocks.next_block().unwrap() {
            assert!(block.len() <= 8);
            first.extend_from_slice(block);
        }
        assert_eq!(first, checkpoint.read(&"w".into()).unwrap().bytes);
    }
}

#[test]
fn entries_that_are_not_tensors_are_left_out_with_a_note() {
    let tensor = |inside: Pickle| inside.tensor("good", "FloatStorage", 0, [3, 1]);
    let pickle = Pickle::dictionary(|inside| {
        tensor(inside).text("step").raw(b"K\x05").text("optimizer").raw(b"}").raw(b"K\x01K\x02")
    });
    let checkpoint = opened(pickle).unwrap();
    assert_eq!(checkpoint.table().len(), 1);
    let expected = "entries that are not tensors were left out: step, optimizer, a key that is not text";
    assert_eq!(checkpoint.choice().warnings(), [expected]);
}

/// A reader that skips these entries would read fewer tensors of each of these than it holds.
#[test]
fn what_cannot_be_read_whole_is_an_error_that_names_it() {
    let tensor = |inside: Pickle| inside.tensor("good", "FloatStorage", 0, [3, 1]);
    let quantized = |inside: Pickle| inside.text("q").global("torch._utils", "_rebuild_qtensor").raw(b")R");
    let cases = [
        ("columns beyond the storage", Pickle::dictionary(|inside| inside.tensor("w", "FloatStorage", 4, [6, 1]))),
        (
            "a call of something else",
            Pickle::dictionary(|inside| tensor(inside).text("x").global("os", "system").raw(b")R")),
        ),
        ("a complex tensor", Pickle::dictionary(|inside| inside.tensor("w", "ComplexFloatStorage", 0, [3, 1]))),
        ("rows beyond the storage", Pickle::dictionary(|inside| inside.tensor("w", "FloatStorage", 7, [3, 1]))),
        ("a quantized tensor", Pickle::dictionary(|inside| quantized(tensor(inside)))),
        ("a number alone", Pickle::dictionary(|inside| inside.text("step").raw(b"K\x05"))),
        ("nothing", Pickle::dictionary(|inside| inside)),
        ("a list", Pickle::default().raw(b"\x80\x02].")),
        ("a cut pickle", Pickle::default().raw(b"\x80\x02}(")),
        ("an unknown opcode", Pickle::default().raw(b"\x80\x02\xff.")),
    ];
    let said = cases.map(|(what, pickle)| format!("{what}:\n{}", opened(pickle).unwrap_err()));
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn a_cut_file_of_torch_before_1_6_is_an_error() {
    let temp = tempdir().unwrap();
    let path = temp.path().join("old.bin");
    let begin = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e, 0x80, 2];
    std::fs::write(&path, begin).unwrap();
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(temp.path().to_str().unwrap(), "[temp]"));
}

#[test]
fn an_index_of_pytorch_shards_names_tied_tensors_too() {
    let temp = tempdir().unwrap();
    ShardPlan::with_format(every_type(), 500, WeightsFormat::Pytorch).write(temp.path(), &Numbered).unwrap();
    let index = chandlery_tests::json(temp.path().join("pytorch_model.bin.index.json"));
    let map = index["weight_map"].as_object().unwrap();
    assert_eq!((map.len(), &map["alias"]), (13, &map["f32"]));
    let total: u64 = TensorTable::from_rows(every_type()).bytes();
    assert_eq!(index["metadata"]["total_size"], total);
}
