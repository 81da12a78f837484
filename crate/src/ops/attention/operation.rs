//! Blockwise attention as candle operations, forward and backward.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape, Storage, Tensor};

use super::attention_mask::AttentionMask;
use super::blocks::{Call, Operand, Sizes};
use super::flex::BlockMask;
use crate::ops::collect::accumulate_grad;
use crate::ops::element::{Element, Wide, by_element, slice, widened};

/// One call of blockwise attention, shared by its forward and its backward.
pub(super) struct Blockwise {
    pub(super) sizes: Sizes,
    pub(super) pairs: Pairs,
    pub(super) scale: f64,
    pub(super) softcap: Option<f64>,
    pub(super) per_head: PerHead,
    /// Queries and keys of one block.
    pub(super) block: (usize, Option<usize>),
    /// Two numbers for each query in the wide type, which the forward leaves for the backward.
    pub(super) normalizers: OnceLock<CpuStorage>,
}

/// Which numbers of heads a call has. They are the rows of one tensor `[2, heads]`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerHead {
    pub(super) slopes: bool,
    pub(super) sinks: bool,
}

/// The two kinds of rules.
pub(super) enum Pairs {
    Rule(AttentionMask),
    Table(BlockMask),
}

const NAME: &str = "attention";

impl Blockwise {
    /// Runs `$work` on a `Call` over the operands.
    fn call<T: Wide, O>(
        &self,
        (q, k, v): (Operand<'_>, Operand<'_>, Operand<'_>),
        per_head: Option<&[T]>,
        by_rule: impl FnOnce(Call<'_, T, AttentionMask>) -> Result<O>,
        by_table: impl FnOnce(Call<'_, T, BlockMask>) -> Result<O>,
    ) -> Result<O> {
        let Self { sizes, block, .. } = *self;
        let (scale, softcap) = (T::of(self.scale), self.softcap.map(T::of));
        let (slopes, sinks) = per_head.map(|values| values.split_at(sizes.heads)).unzip();
        let (slopes, sinks) = (slopes.filter(|_| self.per_head.slopes), sinks.filter(|_| self.per_head.sinks));
        match &self.pairs {
            Pairs::Rule(rule) => by_rule(Call { sizes, q, k, v, rule, scale, slopes, sinks, softcap, block }),
            Pairs::Table(rule) => by_table(Call { sizes, q, k, v, rule, scale, slopes, sinks, softcap, block }),
        }
    }

    fn forward<T: Element>(
        &self,
        operands: (Operand<'_>, Operand<'_>, Operand<'_>),
        per_head: Option<&[T::Wide]>,
    ) -> Result<(CpuStorage, Shape)> {
        let (out, normalizers) = self.call(operands, per_head, |call| call.forward(), |call| call.forward())?;
        // A second forward of one operation would give the same numbers.
        let _ = self.normalizers.set(T::Wide::storage(normalizers));
        let Sizes { rows, heads, queries, width, .. } = self.sizes;
        Ok((T::storage(T::narrowed(out)), Shape::from((rows, heads, queries, width))))
    }

    fn shapes(&self) -> (Shape, Shape) {
        let Sizes { rows, heads, kv_heads, queries, keys, width } = self.sizes;
        (Shape::from((rows, heads, queries, width)), Shape::from((rows, kv_heads, keys, width)))
    }
}

/// Returns the numbers of heads as the wide type of the operands.
fn wide_per_head<W: Wide>(storage: &CpuStorage, layout: &Layout) -> Result<Vec<W>> {
    by_element!(storage, NAME, T => {
        let values = slice::<T>(storage, layout, NAME)?;
        Ok(values.iter().map(|value| W::of(value.wide().to_f64())).collect())
    })
}

/// (q, k, v) → the output.
pub(super) struct Attend(pub(super) Arc<Blockwise>);

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_element!(s1, NAME, T => {
            let (q, k, v) = (widened::<T>(s1, l1, NAME)?, widened::<T>(s2, l2, NAME)?, widened::<T>(s3, l3, NAME)?);
            self.0.forward::<T>((operand(&q, 0), operand(&k, 0), operand(&v, 0)), None)
        })
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let backward = AttendBackward::new(self.0.clone(), out, g)?;
        let all = q.apply_op3_no_bwd(k, v, &backward)?;
        let (q_shape, k_shape) = self.0.shapes();
        let (q_count, k_count) = (q_shape.elem_count(), k_shape.elem_count());
        let part = |from, count, shape: &Shape| all.narrow(0, from, count)?.reshape(shape);
        Ok((
            accumulate_grad(q, part(0, q_count, &q_shape)?)?,
            accumulate_grad(k, part(q_count, k_count, &k_shape)?)?,
            accumulate_grad(v, part(q_count + k_count, k_count, &k_shape)?)?,
        ))
    }
}

/// (q, k and v stacked, numbers of heads `[2, heads]`) → the output. Stacked, because a custom operation has at most three arguments.
pub(super) struct AttendPerHead(pub(super) Arc<Blockwise>);

impl CustomOp3 for AttendPerHead {
    fn name(&self) -> &'static str {
        "attention-per-head"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_element!(s1, NAME, T => {
            let per_head = wide_per_head::<<T as Element>::Wide>(s3, l3)?;
            let (q, kv) = (widened::<T>(s1, l1, NAME)?, widened::<T>(s2, l2, NAME)?);
            let count = self.0.shapes().1.elem_count();
            self.0.forward::<T>((operand(&q, 0), operand(&kv, 0), operand(&kv, count)), Some(&per_head))
        })
    }

    fn bwd(
        &self,
        q: &Tensor,
        kv: &Tensor,
        per_head: &Tensor,
        out: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let backward = AttendBackward::new(self.0.clone(), out, g)?;
        let all = q.apply_op3_no_bwd(kv, per_head, &backward)?;
        let count = q.elem_count();
        let found = backward.of_per_head.get().cloned().unwrap_or_default();
        let found = Tensor::from_vec(found, per_head.shape(), per_head.device())?.to_dtype(per_head.dtype())?;
        Ok((
            accumulate_grad(q, all.narrow(0, 0, count)?.reshape(q.shape())?)?,
            accumulate_grad(kv, all.narrow(0, count, kv.elem_count())?.reshape(kv.shape())?)?,
            accumulate_grad(per_head, found)?,
        ))
    }
}

/// (q, k, v) or (q, k and v, numbers of heads) → the gradients of q, k and v one after another; that of the numbers of
/// heads stays here.
struct AttendBackward {
    forward: Arc<Blockwise>,
    out: Tensor,
    g: Tensor,
    of_per_head: OnceLock<Vec<f64>>,
}

impl AttendBackward {
    fn new(forward: Arc<Blockwise>, out: &Tensor, g: &Tensor) -> Result<Self> {
        let (out, g) = (out.detach().contiguous()?, g.contiguous()?);
        Ok(Self { forward, out, g, of_per_head: OnceLock::new() })
    }
}

impl CustomOp3 for AttendBackward {
    fn name(&self) -> &'static str {
        "attention-backward"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((out, out_layout), (g, g_layout)) = (self.out.storage_and_layout(), self.g.storage_and_layout());
        let (Storage::Cpu(out), Storage::Cpu(g)) = (&*out, &*g) else {
            candle_core::bail!("attention: operands on different devices")
        };
        let Some(normalizers) = self.forward.normalizers.get() else {
            candle_core::bail!("attention: backward before forward")
        };
        // With numbers of heads, the second argument holds keys and values, and they are the third.
        let stacked = l2.dims().len() == 5;
        by_element!(s1, NAME, T => {
            type W = <T as Element>::Wide;
            let (q, k) = (widened::<T>(s1, l1, NAME)?, widened::<T>(s2, l2, NAME)?);
            let (v, per_head) = if stacked { (None, Some(wide_per_head::<W>(s3, l3)?)) } else { (Some(widened::<T>(s3, l3, NAME)?), None) };
            let v = match &v {
                Some(v) => operand(v, 0),
                None => operand(&k, self.forward.shapes().1.elem_count()),
            };
            let (out, g) = (widened::<T>(out, out_layout, NAME)?, widened::<T>(g, g_layout, NAME)?);
            let out = operand(&out, 0);
            let out = W::values(out.storage).map(|values| &values[out.offset..]);
            let saved = W::values(normalizers).zip(out);
            let Some((normalizers, out)) = saved else {
                return Err(Error::Msg("attention: backward in another element type".to_owned()).bt());
            };
            let g = operand(&g, 0);
            let operands = (operand(&q, 0), operand(&k, 0), v);
            let made = self.forward.call(
                operands,
                per_head.as_deref(),
                |call| call.backward(out, normalizers, g),
                |call| call.backward(out, normalizers, g),
            )?;
            let _ = self.of_per_head.set(made.per_head);
            let mut all = made.q;
            all.extend_from_slice(&made.k);
            all.extend_from_slice(&made.v);
            let count = all.len();
            Ok((T::storage(T::narrowed(all)), Shape::from(count)))
        })
    }
}

type Widened<'a> = (std::borrow::Cow<'a, CpuStorage>, usize);

fn operand<'a>((storage, offset): &'a Widened<'_>, further: usize) -> Operand<'a> {
    Operand { storage, offset: offset + further }
}
