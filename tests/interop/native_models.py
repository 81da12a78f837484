"""What native models compute beyond logits: gradients and greedy text, by a notebook that runs on the library."""

import json
import subprocess

CELL = r"""
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use chandlery::candle::{self, Device, Tensor};
use chandlery::model::{Batch, GradientSink, KvCache, StepOptions};
use chandlery::model_folder::ModelFolder;
use chandlery::serde_json;

fn next_of(logits: &Tensor) -> candle::Result<Vec<u32>> {
    let last = logits.dim(1)? - 1;
    logits.narrow(1, last, 1)?.squeeze(1)?.argmax(1)?.to_vec1()
}

fn exercise(folder: &str) -> Result<(), Box<dyn std::error::Error>> {
    let asked: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(format!("{folder}/asked.json"))?)?;
    let rows: Vec<Vec<u32>> = serde_json::from_value(asked["ids"].clone())?;
    let opened = ModelFolder::open(format!("{folder}/native"))?;
    let model = opened.load(DType::F32, &Device::Cpu, true)?;
    let batch = Batch::new(rows.clone())?;
    let labels: Vec<Vec<i64>> = rows.iter().map(|row| row.iter().map(|&id| i64::from(id)).collect()).collect();
    let found: Arc<Mutex<HashMap<String, Tensor>>> = Arc::default();
    let kept = Arc::clone(&found);
    let sink: GradientSink = Arc::new(move |path, _, gradient| {
        kept.lock().unwrap().insert(path.to_string(), gradient.detach());
        Ok(())
    });
    model.loss_and_gradients(&batch, &labels, &StepOptions::default(), sink)?;
    candle::safetensors::save(&*found.lock().unwrap(), format!("{folder}/gradients.safetensors"))?;

    let start = asked["start"].as_u64().unwrap_or(1) as usize;
    let mut cache = KvCache::new();
    let mut next = next_of(&model.forward_cached(&Batch::new(rows.iter().map(|row| row[..start].to_vec()).collect())?, &mut cache)?)?;
    let mut text: Vec<Vec<u32>> = vec![next.clone()];
    for _ in 1..asked["new"].as_u64().unwrap_or(1) {
        next = next_of(&model.forward_cached(&Batch::new(next.iter().map(|&id| vec![id]).collect())?, &mut cache)?)?;
        text.push(next.clone());
    }
    std::fs::write(format!("{folder}/text.json"), serde_json::to_string(&text)?)?;
    Ok(())
}

let folders: Vec<String> = serde_json::from_str(&std::fs::read_to_string("folders.json")?)?;
let mut failed = HashMap::new();
for folder in &folders {
    if let Err(error) = exercise(folder) {
        failed.insert(folder.clone(), error.to_string());
    }
}
std::fs::write("failed.json", serde_json::to_string(&failed)?)?;
"""


def exercise(command, root, folders):
    """Writes gradients.safetensors and text.json beside each `native` folder; returns what failed, by folder."""
    cell = {"cell_type": "code", "id": "models", "execution_count": None, "metadata": {}, "outputs": [], "source": CELL}
    metadata = {"kernelspec": {"name": "chandlery", "display_name": "Chandlery", "language": "rust"}}
    notebook = {"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (root / "models.ipynb").write_text(json.dumps(notebook))
    (root / "folders.json").write_text(json.dumps([str(folder) for folder in folders]))
    done = subprocess.run([command, "run", root / "models.ipynb", "-o", root / "ran.ipynb"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((root / "failed.json").read_text())
