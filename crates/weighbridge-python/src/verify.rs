//! A whole model is verified, as the command does it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use pyo3::prelude::*;
use weighbridge_store::{
    BadChunks, Coded as _, Event, ExtraFiles, FileFault, FileReport, ModelCheck, Outcome, Summary,
    TensorHashing,
};
use weighbridge_tree::ErrorCode;

use crate::{
    cores,
    failure::{Failure, Result},
    model::Opened,
};

/// The number of files that are as signed, and that of their bytes.
pub(crate) type Verified = (u64, u64);

/// What the thread that checks tells the one that waits.
#[derive(Default)]
struct Told {
    read: AtomicU64,
    /// The first file that is not as signed, and why.
    bad: Mutex<Option<Failure>>,
}

pub(crate) fn run(
    py: Python<'_>,
    model: &Arc<Opened>,
    tensors: bool,
    allow_extra: bool,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Verified> {
    if tensors && model.opened.tensors.is_none() {
        return Err(Failure::usage("the head lists no tensors").into());
    }
    let total: u64 = model.opened.view.files().entries().iter().map(|entry| entry.size).sum();
    let (told, (ended, mut wait)) = (Arc::<Told>::default(), mpsc::channel());
    let (model, telling) = (Arc::clone(model), Arc::clone(&told));
    // After an interruption it goes on alone, and nobody waits for it.
    thread::spawn(move || ended.send(cores::on_all(|_| check(&model, tensors, allow_extra, &telling))));
    let summary = loop {
        let waited = {
            let wait = &mut wait;
            py.detach(move || wait.recv_timeout(PAUSE))
        };
        match waited {
            Ok(summary) => break summary?,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                py.check_signals()?;
                if let Some(progress) = progress {
                    progress.call1((told.read.load(Relaxed), total))?;
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(ErrorCode::BUG, "the check ended without a result").into());
            }
        }
    };
    if let Some(bad) = told.bad.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let bad_files = summary.refused.saturating_add(summary.unknown);
        let files = summary.verified.saturating_add(bad_files);
        return Err(bad.saying(&format!("{bad_files} of {files} files are not as signed")).into());
    }
    if let Some(progress) = progress {
        progress.call1((total, total))?;
    }
    Ok((summary.verified, summary.bytes))
}

fn check(model: &Opened, tensors: bool, allow_extra: bool, told: &Told) -> Result<Summary> {
    let files = model.opened.view.files();
    let layers = model.metadata.layers(files).map_err(|error| Failure::of(&error))?;
    let check = ModelCheck {
        model: &model.folder,
        files,
        tensors: model.opened.tensors.as_deref(),
        layers: layers.as_ref(),
        only: None,
        tensor_hashes: if tensors { TensorHashing::Check } else { TensorHashing::Skip },
        extra: if allow_extra { ExtraFiles::Report } else { ExtraFiles::Refuse },
    };
    let checked = check.run(&|event| match event {
        Event::Read(bytes) => {
            told.read.fetch_add(bytes, Relaxed);
        }
        Event::File(report) => {
            let mut bad = told.bad.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = bad_file(report)
                && bad.as_ref().is_none_or(|bad| !bad.is_refusal() && found.is_refusal())
            {
                *bad = Some(found);
            }
        }
    });
    checked.map_err(|error| Failure::of(&error))
}

fn bad_file(report: &FileReport) -> Option<Failure> {
    let path = &report.path;
    let failure = match &report.outcome {
        Outcome::Unknown(error) => Failure::of(error),
        Outcome::Refused(faults) => match faults.first()? {
            fault @ FileFault::Mismatch { chunks: Some(BadChunks { runs, .. }), .. } => {
                let failure = Failure::new(fault.error_code(), format!("{path}: {fault}"));
                match runs.first() {
                    None => failure,
                    Some(run) => {
                        let failure = failure.at_chunk(run.chunks.0, run.bytes.clone());
                        run.tensors
                            .first()
                            .map(|tensor| tensor.name.as_str())
                            .into_iter()
                            .fold(failure, Failure::in_tensor)
                    }
                }
            }
            fault => Failure::new(fault.error_code(), format!("{path}: {fault}")),
        },
        _ => return None,
    };
    Some(failure.in_file(path))
}

/// The time between two reports on the progress.
const PAUSE: Duration = Duration::from_millis(100);
