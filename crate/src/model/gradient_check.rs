//! The gradients of a user's part against finite differences.

use candle_core::{Device, Tensor, Var};
use rand::Rng;

use super::context::{Context, SharedInputs};
use super::parameters::initial::{InitialWeights, stream};
use super::parameters::recorder::load_with;
use super::parts::user::UserModule;
use super::{Batch, ModelError};
use crate::ops::{AttentionImplementation, collected};
use crate::spec::{DType, LayerForm, Mixer, ModelConfig, ModelSpec, Node, ParamPath, Part, UserMixer, UserPart};

/// Entries of a tensor that are moved.
const ENTRIES: usize = 12;

/// How far an entry is moved in both directions: the cube root of the precision of float64, where the error is least.
const STEP: f64 = 6e-6;

/// The name of the part by itself.
const PART: &str = "part";

/// Differences above this share of the largest gradient are faults: correct gradients are far below it.
const TOLERANCE: f64 = 1e-5;

/// The gradients of a part against finite differences.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientCheck {
    /// The part.
    pub part: String,
    /// x, and each parameter.
    pub tensors: Vec<GradientError>,
}

impl GradientCheck {
    /// Returns whether all gradients agree.
    pub fn passed(&self) -> bool {
        self.tensors.iter().all(GradientError::agrees)
    }
}

impl GradientError {
    /// Returns whether the gradients agree.
    pub fn agrees(&self) -> bool {
        self.relative_error <= TOLERANCE
    }
}

/// The gradients of one tensor, x or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientError {
    /// `x`, or the parameter's name in the part.
    pub name: String,
    /// How many of its entries were moved.
    pub entries: usize,
    /// The largest difference between a gradient and its finite difference, over the largest of the gradients.
    pub relative_error: f64,
}

/// Returns the errors of the gradients of the part in the first layer, in float64 on the CPU: for x and each of its parameters, a
/// dozen entries are moved in both directions, and the change of a random sum of the outputs is compared with the gradient.
/// Errors of correct gradients are near 1e-9, those of wrong ones near 1. Dropout is off.
///
/// # Errors
/// [`ModelError`] from the part itself, or if the configuration does not choose it.
pub(crate) fn gradient_check(config: &ModelConfig, part: UserPart, seed: u64) -> Result<GradientCheck, ModelError> {
    let spec = ModelSpec::resolve(config);
    let Some((node, user)) = find(&spec.root, part) else {
        return Err(
            candle_core::Error::Msg(format!("no layer of the configuration has the part `{}`", part.name())).into()
        );
    };
    let alone = Node { name: PART.to_owned(), ..node.clone() };
    let root = Node {
        name: String::new(),
        part: Part::Layer(LayerForm::default()),
        role: None,
        repeat: None,
        children: vec![alone.clone()],
    };
    let table = ModelSpec { root, ties: Vec::new() }.table(DType::F64);
    let device = Device::Cpu;
    let weights = Box::new(InitialWeights::new(&table, seed));
    let (module, parameters) =
        load_with(weights, &table, DType::F64, &device, true, |vb| UserModule::load(&alone, user, &vb.pp(PART)))?;

    let mut random = stream(seed, "gradient check");
    let (rows, tokens) = (2, config.max_position_embeddings.min(6));
    let mut noise = |shape: &[usize]| -> candle_core::Result<Tensor> {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| random.random_range(-1.0..1.0)).collect();
        Tensor::from_vec(values, shape, &device)
    };
    let shape = [rows, tokens, config.hidden_size];
    let x = Var::from_tensor(&noise(&shape)?)?;
    let weighting = noise(&shape)?;
    // Parameters that begin as constants are moved away from them, because a gradient may vanish there.
    let variables = parameters.variables();
    for (_, variable) in &variables {
        let moved = (variable.as_tensor() + (noise(variable.dims())? * 0.1)?)?;
        variable.set(&moved)?;
    }
    let shared = SharedInputs::of(&alone);
    let batch = Batch::new(vec![vec![0; tokens]; rows])?;
    let context = Context::new(&shared, &batch, 0, &device, AttentionImplementation::default(), None)?;
    let loss = || (module.forward(x.as_tensor(), &context, 0, None)? * &weighting)?.sum_all();

    let (mut store, mut gradients) = collected(|| loss()?.backward())?;
    let name = |path: &ParamPath| path.as_str().trim_start_matches("part.").to_owned();
    let tensors = std::iter::once(("x".to_owned(), x.clone()));
    let tensors = tensors.chain(variables.iter().map(|(path, variable)| (name(path), variable.clone())));
    let mut errors = Vec::new();
    for (name, variable) in tensors {
        let gradient = match (gradients.remove(variable.as_tensor()), store.remove(variable.as_tensor())) {
            (Some(one), Some(other)) => Some((one + other)?),
            (one, other) => one.or(other),
        };
        let gradient = match gradient {
            Some(gradient) => gradient.flatten_all()?.to_vec1::<f64>()?,
            None => vec![0.0; variable.elem_count()],
        };
        let start = variable.as_tensor().copy()?;
        let values = start.flatten_all()?.to_vec1::<f64>()?;
        let count = values.len().min(ENTRIES);
        let (mut worst, mut largest) = (0f64, 0f64);
        for entry in 0..count {
            let index = entry * values.len() / count;
            let at = |offset: f64| -> candle_core::Result<f64> {
                let mut moved = values.clone();
                moved[index] += offset;
                variable.set(&Tensor::from_vec(moved, start.shape(), &device)?)?;
                loss()?.to_scalar::<f64>()
            };
            let difference = (at(STEP)? - at(-STEP)?) / (2.0 * STEP);
            worst = worst.max((difference - gradient[index]).abs());
            largest = largest.max(gradient[index].abs()).max(difference.abs());
        }
        variable.set(&start)?;
        let relative_error = if worst == 0.0 { 0.0 } else { worst / largest };
        errors.push(GradientError { name, entries: count, relative_error });
    }
    Ok(GradientCheck { part: part.name().to_owned(), tensors: errors })
}

/// Returns the node of the part in the first layer that has it.
fn find(node: &Node, part: UserPart) -> Option<(&Node, &UserMixer)> {
    match &node.part {
        Part::Mixer(Mixer::User(user)) if user.part == part => Some((node, user)),
        _ => node.children.iter().find_map(|child| find(child, part)),
    }
}
