//! Every operator on a GPU against itself on the CPU in float64. Ignored where there may be no GPU:
//! `cargo test --features chandlery-kernel/cuda --workspace --lib on_a_gpu -- --ignored`.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};

use crate::ops::check::{Inputs, close, gradients, values};
use crate::ops::element::inside;
use crate::ops::{
    AttentionImplementation, AttentionMask, AttentionOptions, GateActivation, GatedMatrices, QuantizedWeight,
    attention, causal_convolution, collected, combine_rows, embedding, gated, gated_delta_rule, gated_linear,
    grouped_gated, layer_norm, linear, linear_cross_entropy, linear_heads, quantized_linear, rms_norm, rotate,
    rounded_activations, rounded_weight, sgd_in_place, softcap, transpose_heads,
};
use crate::spec::{Granularity, QuantDType, Recipe, Scheme};

fn gpu() -> Device {
    super::driver::open(0).unwrap()
}

#[test]
fn sizes_beyond_32_bits_are_refused_with_their_shape() {
    let shape = Shape::from((3, 1usize << 32));
    let said = super::launch::int(1 << 32, "rotate", &shape).unwrap_err().to_string();
    assert!(said.contains("rotate: the size 4294967296 of operands [3, 4294967296]"), "{said}");
    assert_eq!(super::launch::int(i32::MAX as usize, "rotate", &shape).unwrap(), i32::MAX);
}

#[test]
#[ignore = "needs a GPU"]
fn operands_of_another_opening_are_refused_on_a_gpu() {
    let other = Device::new_cuda_with_stream(0).unwrap();
    let x = Tensor::ones((2, 64), DType::F32, &gpu()).unwrap();
    let weight = Tensor::ones(64, DType::F32, &other).unwrap();
    let said = rms_norm(&x, &weight, 1e-5).unwrap_err().to_string();
    assert!(said.contains("operands on different devices") && said.contains("[64]"), "{said}");
}

/// Returns values and gradients; `f` makes its constants on the device of what it gets.
fn agrees_on_a_gpu(what: &str, inputs: &Inputs, f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 2e-2), (DType::F16, 3e-3)] {
        let rounded = inputs.variables(dtype);
        let moved = |tensor: &Tensor, dtype: DType, device: &Device| {
            let moved = tensor.detach().to_dtype(dtype).unwrap().to_device(device).unwrap();
            Var::from_tensor(&moved).unwrap().into_inner()
        };
        let exact: Vec<Tensor> = rounded.iter().map(|v| moved(v, DType::F64, &Device::Cpu)).collect();
        let ours: Vec<Tensor> = rounded.iter().map(|v| moved(v, dtype, &gpu())).collect();
        let (y, of) = gradients(&ours, &f, what);
        let (expected, of_expected) = gradients(&exact, &f, what);
        close(&y, &expected, tolerance, &format!("{what}, {dtype:?}, value"));
        for (index, (of, expected)) in of.iter().zip(&of_expected).enumerate() {
            close(of, expected, tolerance, &format!("{what}, {dtype:?}, gradient of input {index}"));
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn norms_on_a_gpu() {
    for width in [24, 100, 2048] {
        let inputs = Inputs::new(&[("x", &[2, 5, width]), ("weight", &[width]), ("bias", &[width])]);
        agrees_on_a_gpu("rms_norm", &inputs, |v| {
            rms_norm(&v[0], &v[1], 1e-5)? + v[2].mean_all()?.broadcast_as((2, 5, width))?
        });
        agrees_on_a_gpu("layer_norm", &inputs, |v| layer_norm(&v[0], &v[1], Some(&v[2]), 1e-5));
    }
    let inputs = Inputs::new(&[("x", &[3, 17]), ("weight", &[17])]);
    agrees_on_a_gpu("layer_norm without bias", &inputs, |v| layer_norm(&v[0], &v[1], None, 1e-5));
}

#[test]
#[ignore = "needs a GPU"]
fn rotation_and_exchange_on_a_gpu() {
    for (batch, width) in [(1, 8), (2, 64)] {
        let inputs = Inputs::new(&[("x", &[2, 3, 5, width])]);
        agrees_on_a_gpu("rotate", &inputs, |v| {
            let inside = inside(v[0].dtype());
            let angles = Tensor::arange(0f64, (batch * 5 * width / 2) as f64, &Device::Cpu)?;
            let angles = (angles * 0.37)?.reshape((batch, 5, width / 2))?;
            let table = |x: Tensor| x.to_dtype(inside)?.to_device(v[0].device());
            rotate(&v[0], &table(angles.cos()?)?, &table(angles.sin()?)?)
        });
        agrees_on_a_gpu("transpose_heads", &inputs, |v| transpose_heads(&v[0]));
    }
}

#[test]
#[ignore = "needs a GPU"]
fn gates_on_a_gpu() {
    use GateActivation::{Gelu, GeluTanh, Relu, Silu};
    let inputs = Inputs::new(&[("gate", &[3, 7, 5]), ("up", &[3, 7, 5])]);
    for activation in [Silu, Relu, Gelu, GeluTanh] {
        agrees_on_a_gpu("gated", &inputs, |v| gated(&v[0], &v[1], activation));
    }
    let inputs = Inputs::new(&[("x", &[3, 7, 5])]);
    agrees_on_a_gpu("softcap", &inputs, |v| softcap(&v[0], 1.5));
    let inputs = Inputs::new(&[("x", &[2, 3, 16]), ("gate", &[8, 16]), ("up", &[8, 16])]);
    agrees_on_a_gpu("gated_linear", &inputs, |v| gated_linear(&v[0], &v[1], &v[2], Silu));
    agrees_on_a_gpu("linear_heads", &inputs, |v| linear_heads(&v[0], &(&v[1] + &v[2])?, 4));
}

#[test]
#[ignore = "needs a GPU"]
fn linear_maps_and_tables_on_a_gpu() {
    let inputs = Inputs::new(&[("x", &[2, 3, 7]), ("weight", &[5, 7]), ("bias", &[5])]);
    agrees_on_a_gpu("linear", &inputs, |v| linear(&v[0], &v[1], Some(&v[2])));
    let inputs = Inputs::new(&[("table", &[11, 40])]);
    agrees_on_a_gpu("embedding", &inputs, |v| {
        let ids = Tensor::new(&[[3u32, 0, 3, 10], [3, 10, 9, 1]], v[0].device())?;
        embedding(&v[0], &ids)
    });
    let inputs = Inputs::new(&[("x", &[7, 16]), ("weight", &[33, 16])]);
    agrees_on_a_gpu("linear_cross_entropy", &inputs, |v| {
        linear_cross_entropy(&v[0], &v[1], &[3, -100, 0, 32, 3, -100, 7], -100)
    });
}

#[test]
#[ignore = "needs a GPU"]
fn attention_on_a_gpu() {
    let documents =
        |keys: u32| -> Vec<Vec<u32>> { (0..2).map(|row| (0..keys).map(|k| (k + 9 * row) / 31).collect()).collect() };
    let padded = |keys: usize, left: usize| -> Vec<Vec<bool>> {
        vec![(0..keys).map(|key| key >= left).collect(), (0..keys).map(|key| key < keys - 6).collect()]
    };
    for implementation in AttentionImplementation::ALL {
        for width in [40, 64, 128] {
            let (queries, keys) = (70, 90);
            let inputs = Inputs::new(&[
                ("q", &[2, 4, queries, width]),
                ("k", &[2, 2, keys, width]),
                ("v", &[2, 2, keys, width]),
                ("slopes", &[4]),
            ]);
            let causal = AttentionMask::causal(2, queries, keys - queries);
            let cases = [
                ("causal", causal.clone()),
                ("window", causal.clone().with_window(Some(33))),
                ("packed", causal.clone().with_documents(documents(keys as u32)).unwrap()),
                ("padded right", causal.clone().with_padding(padded(keys, 0)).unwrap()),
                ("padded left", causal.clone().with_padding(padded(keys, 25)).unwrap()),
            ];
            for (name, mask) in &cases {
                // (slopes, sinks, soft cap)
                for form in [(false, false, None), (true, false, None), (false, true, None), (false, true, Some(1.5))] {
                    let (alibi, sunk, softcap) = form;
                    // A query that sees nothing sees the sink here and by eager attention; blocks on the CPU see all keys as well.
                    if sunk && *name == "padded left" && implementation != AttentionImplementation::Eager {
                        continue;
                    }
                    let what = format!("{implementation} {name} width {width} {form:?}");
                    agrees_on_a_gpu(&what, &inputs, |v| {
                        // Long rows of steep slopes would leave one key visible.
                        let slopes = (&v[3] * 0.02)?;
                        let options = AttentionOptions {
                            implementation,
                            mask,
                            scale: 1.0 / (width as f64).sqrt(),
                            slopes: alibi.then_some(&slopes),
                            sinks: sunk.then_some(&v[3]),
                            softcap,
                            dropout: None,
                        };
                        let out = attention(&v[0], &v[1], &v[2], &options)?;
                        if alibi || sunk { Ok(out) } else { out.broadcast_add(&v[3].mean_all()?) }
                    });
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn groups_of_rows_on_a_gpu() {
    use GateActivation::Silu;
    // A group of more than one tile, one of a row, and widths of less than a tile and of more.
    for (hidden, inner) in [(16, 24), (136, 264), (20, 12)] {
        let sizes = [130, 1, 7];
        let rows = sizes.iter().sum();
        let matrices: Vec<(String, [usize; 2])> = (0..3)
            .flat_map(|group| {
                [("gate", [inner, hidden]), ("up", [inner, hidden]), ("down", [hidden, inner])]
                    .map(|(name, shape)| (format!("{name} {group}"), shape))
            })
            .collect();
        let x = [rows, hidden];
        let mut shapes: Vec<(&str, &[usize])> = vec![("x", &x)];
        shapes.extend(matrices.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())));
        let inputs = Inputs::new(&shapes);
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 2e-2), (DType::F16, 3e-3)] {
            let rounded = inputs.variables(dtype);
            let run = |dtype: DType, device: &Device| {
                let v: Vec<Var> = rounded
                    .iter()
                    .map(|v| Var::from_tensor(&v.detach().to_dtype(dtype).unwrap().to_device(device).unwrap()).unwrap())
                    .collect();
                let of = |v: &Var| v.as_tensor().clone();
                let groups: Vec<GatedMatrices> = v[1..]
                    .chunks(3)
                    .map(|m| GatedMatrices { gate: of(&m[0]), up: of(&m[1]), down: of(&m[2]) })
                    .collect();
                let ((y, store), mut found) = collected(|| {
                    let x = (v[0].as_tensor() * 0.25)?;
                    let y = grouped_gated(&x, &sizes, &groups, Silu)?;
                    let store = (&y * &x)?.sum_all()?.backward()?;
                    Ok::<_, candle_core::Error>((y, store))
                })
                .unwrap();
                let of = v.iter().map(|v| {
                    let gradient = found.remove(v.as_tensor()).or_else(|| store.get(v.as_tensor()).cloned());
                    values(&gradient.unwrap().to_device(&Device::Cpu).unwrap())
                });
                (values(&y.to_device(&Device::Cpu).unwrap()), of.collect::<Vec<_>>())
            };
            let ((y, of), (expected, of_expected)) = (run(dtype, &gpu()), run(DType::F64, &Device::Cpu));
            let what = format!("groups of {hidden} and {inner}, {dtype:?}");
            close(&y, &expected, tolerance, &what);
            for (index, (of, expected)) in of.iter().zip(&of_expected).enumerate() {
                close(of, expected, tolerance, &format!("{what}, gradient of input {index}"));
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn weighted_rows_on_a_gpu() {
    for (active, width) in [(1, 5), (3, 40)] {
        let inputs = Inputs::new(&[("x", &[7 * active, width]), ("weights", &[7, active])]);
        let slots: Vec<u32> = (0..7 * active as u32).map(|place| place * 5 % (7 * active as u32)).collect();
        agrees_on_a_gpu("combine_rows", &inputs, |v| {
            let slots = Tensor::from_vec(slots.clone(), slots.len(), v[0].device())?;
            combine_rows(&v[0], &slots, &v[1])
        });
    }
}

#[test]
#[ignore = "needs a GPU"]
fn linear_attention_on_a_gpu() {
    let inputs = Inputs::new(&[("x", &[2, 9, 6]), ("weight", &[6, 4])]);
    agrees_on_a_gpu("causal_convolution", &inputs, |v| causal_convolution(&v[0], &v[1]));
    // Less than a chunk, and chunks with a part of one.
    for seq in [7, 150] {
        let (keys, values) = ([2, seq, 2, 16], [2, seq, 4, 8]);
        let inputs =
            Inputs::new(&[("q", &keys), ("k", &keys), ("v", &values), ("decay", &values[..3]), ("beta", &values[..3])]);
        agrees_on_a_gpu(&format!("gated_delta_rule of {seq}"), &inputs, |v| {
            let wide = inside(v[0].dtype());
            let decay = (v[3].to_dtype(wide)?.sqr()? * -0.3)?;
            let beta = ((v[4].to_dtype(wide)?.neg()?.exp()? + 1.0)?).recip()?;
            let (y, states) = gated_delta_rule((&v[0], &v[1], &v[2]), &decay, &beta, None)?;
            (y.broadcast_add(&states.mean_all()?)?).to_dtype(v[0].dtype())
        });
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_step_of_descent_on_a_gpu() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let tensor = |values: &[f64]| Tensor::new(values, &gpu()).unwrap().to_dtype(dtype).unwrap();
        let variable = Var::from_tensor(&tensor(&[1.0, 2.0, -4.0])).unwrap();
        sgd_in_place(&variable, &tensor(&[2.0, 0.0, -8.0]), 0.25).unwrap();
        assert_eq!(values(&variable.to_device(&Device::Cpu).unwrap()), [0.5, 2.0, -2.0]);
    }
}

/// Returns every storage of weights that is read.
fn schemes() -> Vec<Scheme> {
    let mut schemes: Vec<Scheme> = Recipe::ALL.into_iter().map(Recipe::scheme).collect();
    schemes.push(Scheme { granularity: Granularity::Channel, ..schemes[0] });
    schemes.push(Scheme { granularity: Granularity::Group(2), ..schemes[1] });
    schemes.push(Scheme { granularity: Granularity::Group(32), ..schemes[2] });
    schemes.push(Scheme { granularity: Granularity::Tensor, ..schemes[3] });
    schemes.push(Scheme { granularity: Granularity::Tensor, ..schemes[4] });
    schemes
}

#[test]
#[ignore = "needs a GPU"]
fn weights_in_few_bits_on_a_gpu() {
    for (width, outputs) in [(128, 24), (2048, 130), (50, 7)] {
        let inputs = Inputs::new(&[("x", &[40, width]), ("weight", &[outputs, width]), ("bias", &[outputs])]);
        for scheme in schemes().into_iter().filter(|scheme| width % scheme.group_size(width) == 0) {
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 2e-2), (DType::F16, 3e-3)] {
                let v: Vec<Tensor> = inputs.variables(dtype).iter().map(Tensor::detach).collect();
                let here = QuantizedWeight::quantize(&v[1], scheme).unwrap();
                let there = QuantizedWeight::quantize(&v[1].to_device(&gpu()).unwrap(), scheme).unwrap();
                let what = format!("{scheme}, width {width}, {dtype:?}");
                let floats = |weight: &QuantizedWeight, dtype| {
                    values(&weight.dequantize(dtype).unwrap().to_device(&Device::Cpu).unwrap())
                };
                assert_eq!(floats(&here, dtype), floats(&there, dtype), "{what}");
                for tokens in [1, 3, 8, 9, 40] {
                    let x = v[0].narrow(0, 0, tokens).unwrap();
                    let y = quantized_linear(&x, &here, Some(&v[2])).unwrap();
                    let (x, bias) = (x.to_device(&gpu()).unwrap(), v[2].to_device(&gpu()).unwrap());
                    let found = quantized_linear(&x, &there, Some(&bias)).unwrap().to_device(&Device::Cpu).unwrap();
                    close(&values(&found), &values(&y), tolerance, &format!("{what}, {tokens} tokens"));
                }
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn the_gradient_through_few_bits_on_a_gpu() {
    let inputs = Inputs::new(&[("x", &[2, 3, 64]), ("weight", &[10, 64])]);
    let v = inputs.variables(DType::F32);
    let scheme = Recipe::Int8WeightOnly.scheme();
    let gradient = |device: &Device| {
        let x = Var::from_tensor(&v[0].detach().to_device(device).unwrap()).unwrap();
        let weight = QuantizedWeight::quantize(&v[1].detach().to_device(device).unwrap(), scheme).unwrap();
        let store = quantized_linear(&x, &weight, None).unwrap().sum_all().unwrap().backward().unwrap();
        values(&store.get(&x).unwrap().to_device(&Device::Cpu).unwrap())
    };
    close(&gradient(&gpu()), &gradient(&Device::Cpu), 1e-5, "gradient of x");
}

#[test]
#[ignore = "needs a GPU"]
fn rounding_on_a_gpu() {
    let inputs = Inputs::new(&[("x", &[48, 256])]);
    for (dtype, ulp) in [(DType::F32, 0.0), (DType::BF16, 0.0), (DType::F16, 0.0)] {
        let x = inputs.variables(dtype)[0].detach();
        let there = x.to_device(&gpu()).unwrap();
        let back = |tensor: Tensor| values(&tensor.to_device(&Device::Cpu).unwrap());
        for numbers in [QuantDType::Int8, QuantDType::F8E4M3] {
            let found = back(rounded_activations(&there, numbers).unwrap());
            close(&found, &values(&rounded_activations(&x, numbers).unwrap()), ulp, &format!("{numbers:?}, {dtype:?}"));
        }
        for scheme in Recipe::ALL.map(Recipe::scheme) {
            let missed = |found: Vec<f64>| -> f64 {
                found.iter().zip(values(&x)).map(|(found, x)| (found - x) * (found - x)).sum()
            };
            let (found, expected) =
                (back(rounded_weight(&there, &scheme).unwrap()), rounded_weight(&x, &scheme).unwrap());
            // Where two scales have the same error, sums in another order may choose the other one.
            let (found, expected) = (missed(found), missed(values(&expected)));
            assert!((found - expected).abs() <= 1e-3 * expected, "{scheme}, {dtype:?}: {found} and {expected}");
        }
        let variable = Var::from_tensor(&there).unwrap();
        let y = rounded_weight(&variable, &Recipe::Int4WeightOnly.scheme()).unwrap();
        let store = y.sum_all().unwrap().backward().unwrap();
        assert!(back(store.get(&variable).unwrap().clone()).iter().all(|g| *g == 1.0));
    }
}
