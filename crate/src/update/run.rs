//! Writing: everything goes into a staged folder, which appears when it is complete.

use super::UpdateError;
use super::plan::{CARRIED, Prepared, RECORD};
use crate::checkpoint::{CheckpointCopy, CheckpointError, Component, Manifest, Placement, inside};

impl Prepared {
    /// Writes what the plan says.
    pub(super) fn write(&self) -> Result<(), UpdateError> {
        let plan = &self.plan;
        let stage = plan.changes.stage(&plan.destination)?;
        stage.write_json("config.json", &plan.config)?;
        stage.write_json(RECORD, &self.record)?;
        for (name, text) in &self.sources {
            stage.write(name, text)?;
        }
        for source in &self.carried {
            stage.copy(&source.name, &source.file, &|_| {})?;
        }
        for (name, bytes) in self.tokenizer.to_write() {
            stage.write(&name, bytes)?;
        }
        let carried = plan.source.join(CARRIED);
        if carried.is_file() {
            stage.copy(CARRIED, &inside(&plan.source, &carried)?, &|_| {})?;
        }
        let place = plan.placement.folder();
        let folder = stage.path().join(&place);
        std::fs::create_dir_all(&folder).map_err(CheckpointError::io("creating", &folder))?;
        let meter = crate::progress::Progress::of_work("updating", self.shards.bytes());
        let advance = |bytes| meter.inc(bytes);
        let copy = CheckpointCopy::new(&self.weights, self.pieces()).on_progress(&advance);
        let written = self.shards.write(&folder, &copy);
        let written = meter.end(written)?;
        plan.placement.link(&stage, &written.files)?;
        if plan.placement != Placement::Root {
            let model = Component::model(&folder, written.files)?;
            let manifest = Manifest { checkpoint: place.trim_end_matches('/').to_owned(), components: vec![model] };
            stage.write_json(&format!("{place}{}", Manifest::FILE), &manifest.to_json())?;
        }
        stage.commit()?;
        Ok(())
    }
}
