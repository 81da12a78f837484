//! Tensors: made, indexed, reduced, read, dropped.

use candle_core::{D, DType, Device, Error, IndexOp, Result, Shape, Tensor, Var};

pub fn drop_values(tensors: Vec<Tensor>, results: Vec<Result<Tensor>>, error: Error, variable: Vec<Var>, shape: Shape) {
    drop((tensors, results, error, variable, shape));
}

/// By the element's type.
macro_rules! elements {
    ($($name:ident: $element:ty),+ $(,)?) => {
        $(pub mod $name {
            use super::*;

            pub fn ranges(start: $element, step: $element, end: $element, on: &Device) -> [Result<Tensor>; 2] {
                [Tensor::arange(start, end, on), Tensor::arange_step(start, end, step, on)]
            }

            pub fn new(one: $element, slice: &[$element], vec: Vec<$element>, on: &Device) -> [Result<Tensor>; 3] {
                [Tensor::new(one, on), Tensor::new(slice, on), Tensor::new(vec, on)]
            }

            pub fn arrays(
                a: &[$element; 1], b: &[$element; 2], c: &[$element; 3], d: &[$element; 4], e: &[$element; 5],
                f: &[$element; 6], g: &[$element; 7], h: &[$element; 8], on: &Device,
            ) -> [Result<Tensor>; 8] {
                [
                    Tensor::new(a, on), Tensor::new(b, on), Tensor::new(c, on), Tensor::new(d, on), Tensor::new(e, on),
                    Tensor::new(f, on), Tensor::new(g, on), Tensor::new(h, on),
                ]
            }

            pub fn matrices(
                a: &[[$element; 2]; 2], b: &[[$element; 3]; 2], c: &[[$element; 2]; 3], d: &[[$element; 3]; 3],
                e: &[[$element; 4]; 4], on: &Device,
            ) -> [Result<Tensor>; 5] {
                [Tensor::new(a, on), Tensor::new(b, on), Tensor::new(c, on), Tensor::new(d, on), Tensor::new(e, on)]
            }

            pub fn shaped(
                vec: &dyn Fn() -> Vec<$element>, slice: &[$element], n: usize, shape: &Shape, on: &Device,
            ) -> [Result<Tensor>; 8] {
                [
                    Tensor::from_vec(vec(), n, on), Tensor::from_vec(vec(), (n, n), on),
                    Tensor::from_vec(vec(), (n, n, n), on), Tensor::from_vec(vec(), shape, on),
                    Tensor::from_slice(slice, n, on), Tensor::from_slice(slice, (n, n), on),
                    Tensor::from_slice(slice, (n, n, n), on), Tensor::from_slice(slice, shape, on),
                ]
            }

            pub fn full(value: $element, n: usize, on: &Device) -> [Result<Tensor>; 3] {
                [Tensor::full(value, n, on), Tensor::full(value, (n, n), on), Tensor::full(value, (n, n, n), on)]
            }

            pub fn read(from: &Tensor) -> impl Sized + use<> {
                (
                    from.to_scalar::<$element>(), from.to_vec0::<$element>(), from.to_vec1::<$element>(),
                    from.to_vec2::<$element>(), from.to_vec3::<$element>(),
                )
            }
        })+
    };
}

elements!(of_f32: f32, of_f64: f64, of_i64: i64, of_u32: u32, of_u8: u8);

/// By the shape.
macro_rules! shapes {
    ($($name:ident: $shape:ty),+ $(,)?) => {
        $(pub mod $name {
            use super::*;

            pub fn made(shape: $shape, of: DType, on: &Device) -> [Result<Tensor>; 6] {
                [
                    Tensor::zeros(shape, of, on), Tensor::ones(shape, of, on), Tensor::rand(0f32, 1f32, shape, on),
                    Tensor::randn(0f32, 1f32, shape, on), Tensor::rand(0f64, 1f64, shape, on),
                    Tensor::randn(0f64, 1f64, shape, on),
                ]
            }

            pub fn changed(from: &Tensor, shape: $shape) -> [Result<Tensor>; 4] {
                [from.reshape(shape), from.broadcast_as(shape), from.expand(shape), from.repeat(shape)]
            }
        })+
    };
}

shapes!(
    in_1: usize, in_2: (usize, usize), in_3: (usize, usize, usize), in_4: (usize, usize, usize, usize),
    of_slice: &[usize], of_shape: &Shape,
);

pub fn hole(from: &Tensor, n: usize) -> [Result<Tensor>; 4] {
    [from.reshape(((),)), from.reshape(((), n)), from.reshape((n, ())), from.reshape(((), n, n))]
}

/// By what names a dimension.
macro_rules! dimensions {
    ($($name:ident: $dimension:ty),+ $(,)?) => {
        $(pub mod $name {
            use super::*;

            pub fn reduced(from: &Tensor, by: $dimension) -> [Result<Tensor>; 16] {
                [
                    from.sum(by), from.sum_keepdim(by), from.mean(by), from.mean_keepdim(by), from.max(by),
                    from.max_keepdim(by), from.min(by), from.min_keepdim(by), from.argmax(by), from.argmax_keepdim(by),
                    from.argmin(by), from.argmin_keepdim(by), from.var(by), from.var_keepdim(by), from.cumsum(by),
                    from.log_sum_exp(by),
                ]
            }

            pub fn shaped(from: &Tensor, other: &Tensor, by: $dimension, n: usize) -> [Result<Tensor>; 7] {
                [
                    from.squeeze(by), from.unsqueeze(by), from.narrow(by, n, n), from.transpose(by, by),
                    from.index_select(other, by), from.gather(other, by), from.flatten_from(by),
                ]
            }

            pub fn joined(owned: &[Tensor], borrowed: &[&Tensor], by: $dimension) -> [Result<Tensor>; 4] {
                [
                    Tensor::cat(owned, by), Tensor::cat(borrowed, by), Tensor::stack(owned, by),
                    Tensor::stack(borrowed, by),
                ]
            }

            pub fn size(from: &Tensor, by: $dimension, n: usize) -> (Result<usize>, Result<Vec<Tensor>>) {
                (from.dim(by), from.chunk(n, by))
            }
        })+
    };
}

dimensions!(by_number: usize, by_name: D);

pub fn indexed(from: &Tensor, n: usize) -> [Result<Tensor>; 7] {
    [from.i(n), from.i((n, n)), from.i(n..n), from.i(..n), from.i(n..), from.i((.., n)), from.i((n, ..))]
}

pub fn computed(one: &Tensor, other: &Tensor, owned: &dyn Fn() -> Tensor) -> [Result<Tensor>; 16] {
    [
        one + other,
        one - other,
        one * other,
        one / other,
        one + 1.,
        one - 1.,
        one * 2.,
        one / 2.,
        owned() + other,
        owned() - other,
        owned() * other,
        owned() / other,
        owned() + 1.,
        owned() - 1.,
        owned() * 2.,
        owned() / 2.,
    ]
}
