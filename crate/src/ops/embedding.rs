//! Rows of a table by index.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, DType, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::collect::accumulate_grad;
use super::cuda;
use super::element::{Element, Wide, by_element, made, slice};
use super::rows::per_task;

/// table `[rows, h]` and ids (u32, any shape) → `[ids' shape, h]`.
///
/// Gradients of rows that occur several times are added in float32 and in the order of the ids, so that the result does
/// not depend on the number of threads.
///
/// # Errors
/// candle's error, for ids beyond the table or of another type.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    if ids.dtype() != DType::U32 {
        return Err(Error::UnexpectedDType { msg: "ids of an embedding", expected: DType::U32, got: ids.dtype() }.bt());
    }
    let (table, ids) = (table.contiguous()?, ids.contiguous()?);
    if !table.device().is_cpu() && !cuda::serves(&table) {
        return composed(&table, &ids);
    }
    table.apply_op2(&ids, Embedding)
}

/// Composes the same of candle's differentiable operations.
fn composed(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let shape = [ids.dims(), &[table.dim(1)?]].concat();
    table.index_select(&ids.flatten_all()?, 0)?.reshape(shape)
}

struct Embedding;

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout, op: &'static str) -> Result<&'a [u32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::U32(ids), Some((start, end))) => Ok(&ids[start..end]),
        (CpuStorage::U32(_), None) => Err(Error::RequiresContiguous { op }.bt()),
        _ => Err(Error::UnsupportedDTypeForOp(storage.dtype(), op).bt()),
    }
}

impl CustomOp2 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = l1.shape().dims2()?;
        let ids = numbers(s2, l2, self.name())?;
        if let Some(&beyond) = ids.iter().find(|&&id| id as usize >= rows) {
            return Err(Error::InvalidIndex { op: self.name(), index: beyond as usize, size: rows }.bt());
        }
        by_element!(s1, self.name(), T => {
            let table = slice::<T>(s1, l1, self.name())?;
            let mut y = vec![T::default(); ids.len() * width];
            y.par_chunks_mut(width.max(1)).zip(ids).with_min_len(per_task(width)).for_each(|(y, &id)| {
                y.copy_from_slice(&table[id as usize * width..][..width]);
            });
            Ok(made(y, [l2.dims(), &[width]].concat()))
        })
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::embedding((s1, l1), (s2, l2))
    }

    fn bwd(&self, table: &Tensor, ids: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = g.contiguous()?.apply_op2_no_bwd(ids, &EmbeddingBackward { rows: table.dim(0)? })?;
        Ok((accumulate_grad(table, gradient)?, None))
    }
}

/// (gradient of y `[…, h]`, ids) → the gradient of the table `[rows, h]`.
struct EmbeddingBackward {
    rows: usize,
}

impl CustomOp2 for EmbeddingBackward {
    fn name(&self) -> &'static str {
        "embedding-backward"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = l1.dims().last().copied().unwrap_or(0);
        let ids = numbers(s2, l2, self.name())?;
        by_element!(s1, self.name(), T => {
            Ok(made(summed::<T>(slice(s1, l1, self.name())?, ids, self.rows, width), (self.rows, width)))
        })
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::embedding_backward((s1, l1), (s2, l2), self.rows)
    }
}

fn summed<T: Element>(g: &[T], ids: &[u32], rows: usize, width: usize) -> Vec<T> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&place| ids[place]);
    let mut table = vec![T::default(); rows * width];
    let share = rows.div_ceil(64).max(1);
    table.par_chunks_mut((share * width).max(1)).enumerate().for_each(|(part, table)| {
        let start = order.partition_point(|&place| (ids[place] as usize) < part * share);
        let end = order.partition_point(|&place| (ids[place] as usize) < (part + 1) * share);
        let mut sum = vec![T::Wide::ZERO; width];
        for same in order[start..end].chunk_by(|&a, &b| ids[a] == ids[b]) {
            sum.fill(T::Wide::ZERO);
            for place in same {
                sum.iter_mut().zip(&g[place * width..]).for_each(|(sum, g)| *sum += g.wide());
            }
            let row = (ids[same[0]] as usize - part * share) * width;
            table[row..].iter_mut().zip(&sum).for_each(|(row, sum)| *row = T::narrow(*sum));
        }
    });
    table
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::check::{Inputs, agree};

    #[test]
    fn embedding_agrees_with_candle_and_finite_differences_where_ids_repeat() {
        let ids = Tensor::new(&[[3u32, 0, 3], [8, 3, 1]], &Device::Cpu).unwrap();
        let inputs = Inputs::new(&[("table", &[9, 5])]);
        agree(&inputs, |v| embedding(&v[0], &ids), |v| composed(&v[0], &ids));
    }

    #[test]
    fn an_id_beyond_the_table_is_an_error() {
        let table = Tensor::zeros((3, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(embedding(&table, &Tensor::new(&[3u32], &Device::Cpu).unwrap()).is_err());
    }
}
