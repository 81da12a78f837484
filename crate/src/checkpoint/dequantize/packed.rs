//! Numbers of a few bits that share words: GPTQ, AWQ, MXFP4 and NVFP4, and the packed format of compressed-tensors.

use std::sync::Arc;

use serde_json::Value;

use super::formulas::E2M1;
use super::{Found, Source, by_rows, fault, floats, words};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::derived::{Compute, Stored};
use crate::spec::DType;

/// The place of each number of a word of AWQ.
const AWQ_ORDER: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// Returns the number of `bits` bits that begins at bit `at` of words that are `stride` apart.
fn number(words: &[u32], first: usize, stride: usize, at: usize, bits: usize) -> u32 {
    let (word, shift) = (at / 32, at % 32);
    let low = words[first + word * stride] >> shift;
    let mask = (1u32 << bits) - 1;
    if shift + bits <= 32 {
        return low & mask;
    }
    (low | words[first + (word + 1) * stride] << (32 - shift)) & mask
}

/// What GPTQ and AWQ store: integers, and for each group of inputs a scale and a zero.
#[derive(Debug)]
struct Grouped {
    weights: Stored,
    zeros: Option<Stored>,
    scales: Stored,
    /// The group of each input, if not in a row.
    order: Option<Stored>,
    bits: usize,
    inputs: usize,
    outputs: usize,
    groups: usize,
    awq: bool,
    /// What is added to a stored zero.
    shift: f32,
    dtype: DType,
}

pub(super) fn gptq_or_awq(source: &Source<'_>, module: &str, weights: &Stored) -> Result<Found, CheckpointError> {
    let part = |name: &str| format!("{module}.{name}");
    let scales = source.need(&part("scales"), weights)?;
    let (zeros, order) = (source.get(&part("qzeros")), source.get(&part("g_idx")));
    let (&[high, wide], &[groups, outputs]) = (weights.shape(), scales.shape()) else {
        return Err(fault(weights, "it and its scales are not matrices"));
    };
    let method = source.setting("quant_method").and_then(Value::as_str).unwrap_or_default();
    let awq = method == "awq" || (method != "gptq" && wide != outputs);
    if let Some(version) = source.setting("version").and_then(Value::as_str).filter(|_| awq)
        && !version.eq_ignore_ascii_case("gemm")
    {
        return Err(fault(weights, format!("AWQ of the version `{version}` is not supported, only gemm")));
    }
    let declared = ["bits", "w_bit"].iter().find_map(|name| source.setting(name)?.as_u64());
    let packed = if awq { wide * 32 / outputs.max(1) } else { 0 };
    let bits = declared.map_or(if awq { packed } else { 4 }, |bits| bits as usize);
    if !(2..=8).contains(&bits) || (awq && bits != 4) {
        return Err(fault(weights, format!("numbers of {bits} bits are not supported")));
    }
    let inputs = if awq { high } else { high * 32 / bits };
    let fits = match awq {
        true => wide * 32 == outputs * bits,
        false => wide == outputs && inputs * bits == high * 32,
    };
    if !fits || groups == 0 || inputs % groups != 0 && order.is_none() {
        return Err(fault(
            weights,
            format!("{:?} numbers and {:?} scales do not fit", weights.shape(), scales.shape()),
        ));
    }
    if let Some(zeros) = zeros.as_ref().filter(|zeros| zeros.shape() != [groups, outputs * bits / 32]) {
        return Err(fault(zeros, "it does not fit the scales"));
    }
    if let Some(order) = order.as_ref().filter(|order| order.shape() != [inputs]) {
        return Err(fault(order, "it does not fit the weight"));
    }
    // The first format of GPTQ stores zeros less one.
    let second = source.setting("checkpoint_format").and_then(Value::as_str) == Some("gptq_v2");
    let shift = if awq || second { 0.0 } else { 1.0 };
    let parts = ["qzeros", "scales", "g_idx"].map(part).to_vec();
    let place = weights.name().to_owned();
    let formula = Grouped {
        weights: weights.clone(),
        zeros,
        scales,
        order: order.filter(|_| !awq),
        bits,
        inputs,
        outputs,
        groups,
        awq,
        shift,
        dtype: source.dtype,
    };
    Ok(Found { name: part("weight"), shape: vec![outputs, inputs], formula: Arc::new(formula), place, parts })
}

impl Compute for Grouped {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let (packed, scales) = (words(&self.weights)?, floats(&self.scales)?);
        let zeros = self.zeros.as_ref().map(words).transpose()?;
        let (inputs, outputs, bits) = (self.inputs, self.outputs, self.bits);
        let groups: Vec<usize> = match &self.order {
            Some(order) => words(order)?.into_iter().map(|group| group as usize).collect(),
            None => (0..inputs).map(|input| input / (inputs / self.groups)).collect(),
        };
        if groups.iter().any(|group| *group >= self.groups) {
            return Err(fault(&self.weights, "its order names a group that does not exist"));
        }
        let wide = outputs * bits / 32;
        // Of a row of words that hold one number for each output.
        let across = |words: &[u32], row: usize, output: usize| match self.awq {
            true => words[row * wide + output / 8] >> (4 * AWQ_ORDER[output % 8]) & 15,
            false => number(words, row * wide, 1, output * bits, bits),
        };
        // A symmetric weight of GPTQ without zeros is centered.
        let middle = (1u32 << (bits - 1)) as f32;
        by_rows(&self.weights, (outputs, inputs), self.dtype, |output, out| {
            let zero_of = |group: usize| match &zeros {
                Some(zeros) => across(zeros, group, output) as f32 + self.shift,
                None => middle,
            };
            let zeros: Vec<f32> = (0..self.groups).map(zero_of).collect();
            for (input, value) in out.iter_mut().enumerate() {
                let group = groups[input];
                let stored = match self.awq {
                    true => across(&packed, input, output),
                    false => number(&packed, output, outputs, input * bits, bits),
                };
                *value = (stored as f32 - zeros[group]) * scales[group * outputs + output];
            }
        })
    }
}

/// Numbers in the packed format of compressed-tensors: integers with an offset, in rows of words.
#[derive(Debug)]
struct Packed {
    weights: Stored,
    scales: Stored,
    zeros: Option<Stored>,
    order: Option<Stored>,
    bits: usize,
    rows: usize,
    columns: usize,
    groups: usize,
    dtype: DType,
}

/// Numbers of four bits, two to a byte, with a scale for each group.
#[derive(Debug)]
struct Nibbles {
    weights: Stored,
    scales: Stored,
    /// What divides all scales.
    global: Option<Stored>,
    rows: usize,
    columns: usize,
    groups: usize,
    dtype: DType,
}

pub(super) fn compressed(source: &Source<'_>, module: &str, weights: &Stored) -> Result<Found, CheckpointError> {
    let part = |name: &str| format!("{module}.{name}");
    let scales = source.need(&part("weight_scale"), weights)?;
    let &[rows, wide] = weights.shape() else { return Err(fault(weights, "it is not a matrix")) };
    let names = ["weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale"];
    let (place, parts, name) = (weights.name().to_owned(), names.map(part).to_vec(), part("weight"));
    let groups = match scales.shape() {
        [found, groups] if *found == rows => *groups,
        [found] if *found == rows => 1,
        other if other.iter().product::<usize>() == 1 => 0,
        other => return Err(fault(&scales, format!("its shape {other:?} does not fit {rows} rows"))),
    };
    let dtype = source.dtype;
    if weights.dtype() == DType::U8 {
        let (columns, global) = (wide * 2, source.get(&part("weight_global_scale")));
        if groups == 0 || columns % groups != 0 {
            return Err(fault(&scales, format!("its {groups} groups do not divide {columns} columns")));
        }
        let (weights, shape) = (weights.clone(), vec![rows, columns]);
        let formula = Nibbles { weights, scales, global, rows, columns, groups, dtype };
        return Ok(Found { name, shape, formula: Arc::new(formula), place, parts });
    }
    let shape = source.need(&part("weight_shape"), weights)?;
    let bytes = shape.read()?;
    let sizes: Vec<usize> = match shape.dtype() {
        DType::I64 => bytes.as_chunks::<8>().0.iter().map(|size| i64::from_le_bytes(*size) as usize).collect(),
        DType::I32 => bytes.as_chunks::<4>().0.iter().map(|size| i32::from_le_bytes(*size) as usize).collect(),
        other => return Err(fault(&shape, format!("it is {other}, not integers"))),
    };
    let &[declared, columns] = sizes.as_slice() else { return Err(fault(&shape, "it does not name two sizes")) };
    let bits = bits_of(source.settings, wide, columns)
        .filter(|bits| declared == rows && columns > 0 && (columns * bits).div_ceil(32) <= wide)
        .ok_or_else(|| {
            fault(weights, format!("{declared} × {columns} numbers do not fit its {rows} × {wide} words"))
        })?;
    let (zeros, order) = (source.get(&part("weight_zero_point")), source.get(&part("weight_g_idx")));
    if groups > 1 && columns % groups != 0 {
        return Err(fault(&scales, format!("its {groups} groups do not divide {columns} columns")));
    }
    let formula = Packed { weights: weights.clone(), scales, zeros, order, bits, rows, columns, groups, dtype };
    Ok(Found { name, shape: vec![rows, columns], formula: Arc::new(formula), place, parts })
}

/// Returns how many bits a number has: what config.json says, where it fits, else by the words.
fn bits_of(settings: &Value, wide: usize, columns: usize) -> Option<usize> {
    let groups = settings.get("config_groups").and_then(Value::as_object).into_iter().flatten();
    let declared: Vec<usize> =
        groups.filter_map(|(_, group)| usize::try_from(group["weights"]["num_bits"].as_u64()?).ok()).collect();
    let fits = |bits: &usize| (1..=8).contains(bits) && (columns * bits).div_ceil(32) == wide;
    declared.into_iter().find(fits).or_else(|| [4, 8, 2, 3, 5, 6, 7, 1].into_iter().find(fits))
}

impl Compute for Packed {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let (packed, scales) = (words(&self.weights)?, floats(&self.scales)?);
        let (rows, columns, bits) = (self.rows, self.columns, self.bits);
        let wide = packed.len() / rows.max(1);
        let each = self.groups.max(1);
        let offset = (1u32 << (bits - 1)) as f32;
        let order: Option<Vec<u32>> =
            self.order.as_ref().map(words).transpose()?.filter(|order| order.len() == columns);
        if order.as_ref().is_some_and(|order| order.iter().any(|group| *group as usize >= each)) {
            return Err(fault(&self.weights, "its order names a group that does not exist"));
        }
        // Zeros are packed down the rows.
        let zeros: Option<Vec<f32>> = match &self.zeros {
            None => None,
            Some(zeros) if zeros.dtype() == DType::I32 && zeros.shape().len() == 2 => {
                let (packed, groups) = (words(zeros)?, zeros.shape()[1]);
                if groups != each || packed.len() * 32 < rows * groups * bits {
                    return Err(fault(zeros, "it does not fit the scales"));
                }
                let one = |at: usize| number(&packed, at % groups, groups, at / groups * bits, bits) as f32 - offset;
                Some((0..rows * groups).map(one).collect())
            }
            Some(zeros) => Some(floats(zeros)?).filter(|found| found.len() == rows * each || found.len() == 1),
        };
        by_rows(&self.weights, (rows, columns), self.dtype, |row, out| {
            for (column, value) in out.iter_mut().enumerate() {
                let group = match &order {
                    Some(order) => order[column] as usize,
                    None => column / (columns / each),
                };
                let at = if self.groups == 0 { 0 } else { row * each + group };
                let stored = number(&packed, row * wide, 1, column * bits, bits) as f32 - offset;
                let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[if zeros.len() == 1 { 0 } else { at }]);
                *value = (stored - zero) * scales[at];
            }
        })
    }
}

impl Compute for Nibbles {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let bytes = self.weights.read()?;
        // A byte is the exponent of a power of two.
        let mut scales = match self.scales.dtype() {
            DType::U8 => self.scales.read()?.into_iter().map(power_of_two).collect(),
            _ => floats(&self.scales)?,
        };
        if let Some(global) = &self.global {
            let global = floats(global)?;
            let divisor = global.first().copied().unwrap_or(1.0);
            scales.iter_mut().for_each(|scale| *scale /= divisor);
        }
        let (columns, groups) = (self.columns, self.groups);
        by_rows(&self.weights, (self.rows, columns), self.dtype, |row, out| {
            for (column, value) in out.iter_mut().enumerate() {
                let byte = bytes[(row * columns + column) / 2];
                let nibble = if column % 2 == 0 { byte & 15 } else { byte >> 4 };
                *value = E2M1[usize::from(nibble)] * scales[row * groups + column / (columns / groups)];
            }
        })
    }
}

/// Returns the power of two of an exponent without a sign; 255 is not a number.
fn power_of_two(exponent: u8) -> f32 {
    if exponent == u8::MAX { f32::NAN } else { 2f32.powi(i32::from(exponent) - 127) }
}

/// The experts of gpt-oss: blocks of 32 numbers of four bits with an exponent each, as matrices that are used transposed.
#[derive(Debug)]
struct Experts {
    blocks: Stored,
    scales: Stored,
    experts: usize,
    rows: usize,
    columns: usize,
    dtype: DType,
}

pub(super) fn mxfp4_experts(
    source: &Source<'_>,
    weight: &str,
    blocks: &Stored,
    scales: &Stored,
) -> Result<Found, CheckpointError> {
    let (&[experts, rows, groups, bytes], [a, b, c]) = (blocks.shape(), scales.shape()) else {
        return Err(fault(blocks, "it and its scales are not stacks of blocks"));
    };
    if [*a, *b, *c] != [experts, rows, groups] || blocks.dtype() != DType::U8 || scales.dtype() != DType::U8 {
        return Err(fault(blocks, "it does not fit its scales"));
    }
    let columns = groups * bytes * 2;
    let formula =
        Experts { blocks: blocks.clone(), scales: scales.clone(), experts, rows, columns, dtype: source.dtype };
    Ok(Found {
        name: weight.to_owned(),
        shape: vec![experts, columns, rows],
        formula: Arc::new(formula),
        place: blocks.name().to_owned(),
        parts: vec![scales.name().to_owned()],
    })
}

impl Compute for Experts {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let (bytes, scales) = (self.blocks.read()?, self.scales.read()?);
        let (rows, columns) = (self.rows, self.columns);
        let groups = scales.len() / (self.experts * rows).max(1);
        let each = columns / groups.max(1);
        by_rows(&self.blocks, (self.experts * columns, rows), self.dtype, |index, out| {
            let (expert, column) = (index / columns, index % columns);
            for (row, value) in out.iter_mut().enumerate() {
                let at = expert * rows + row;
                let byte = bytes[(at * columns + column) / 2];
                let nibble = if column % 2 == 0 { byte & 15 } else { byte >> 4 };
                let exponent = i32::from(scales[at * groups + column / each]) - 127;
                *value = E2M1[usize::from(nibble)] * 2f32.powi(exponent);
            }
        })
    }
}
