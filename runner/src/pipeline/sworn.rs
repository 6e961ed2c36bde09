//! Inputs exported, statements sworn to, and both written beside the artifacts.
//!
//! What takes long goes beside what else takes long: this program is hashed while the steps run, and the attestor starts
//! while the last of them do; the artifacts are written and flushed while it works, and it ends while its statements are
//! written. One after the other that was most of what a signature added to a build.

use std::sync::{Mutex, PoisonError};

use model::record::Record;

use super::beside;
use super::further;
use super::hand_over::{Job, Readied, export, file_name, inputs_name, readied, stored};
use super::signing::{self, Decided};
use crate::artifacts::Made;
use crate::context::Context;
use crate::diagnostic::Diagnostic;
use crate::evidence;
use crate::export::{Batch, ExportError, OutFolder};
use crate::persist;
use crate::program;
use crate::refusal;
use crate::sign::{self, Attestor, Leaving, Signer, Starting};

/// What is started while the last steps run: their work leaves a processor free more often than what comes after.
pub struct Ahead<'a> {
    /// None where nothing will be signed.
    context: Option<&'a Context>,
    steps: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    /// How many nobody has taken up.
    left: usize,
    /// Whether one of them is run, so that there will be something to sign.
    run: bool,
    attestor: Option<Starting>,
}

impl<'a> Ahead<'a> {
    /// Prepares for a plan of so many steps.
    pub fn of(signing: &Decided, context: &'a Context, steps: usize) -> Ahead<'a> {
        let context = matches!(signing, Decided::With(_)).then_some(context);
        Ahead { context, steps: Mutex::new(Steps { left: steps, ..Steps::default() }) }
    }

    /// Is told that a step was taken up, of which the result may be found.
    pub fn taken_up(&self) {
        self.told(|steps| steps.left = steps.left.saturating_sub(1));
    }

    /// Is told that a step is run.
    pub fn run(&self) {
        program::begin();
        self.told(|steps| steps.run = true);
    }

    fn told(&self, change: impl FnOnce(&mut Steps)) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut steps);
        if let (Some(context), 0, true, None) =
            (self.context, steps.left, steps.run, &steps.attestor)
        {
            steps.attestor = Starting::begin(context);
        }
    }

    /// Returns the attestor, where one was started. A step that had all processes there may be kept it from that; then
    /// it is started when there is something to sign.
    pub fn attestor(self) -> Option<Attestor<'a>> {
        let steps = self.steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        steps.attestor?.attestor(self.context?).ok()
    }
}

/// Exports the inputs, signs what is stale, and writes the evidence. Returns who signed, and the artifacts, which
/// lack only their names: they get those once the evidence has its own.
pub fn sign_and_write<'out>(
    job: &Job<'_>,
    out: &'out OutFolder,
    made: &[Made],
    records: &mut [Record],
    stale: &[usize],
    begun: Option<Attestor<'_>>,
) -> Result<(Option<String>, Option<Readied<'out>>), Vec<Diagnostic>> {
    let one = |diagnostic: Diagnostic| vec![diagnostic];
    let signer = match (job.signing, begun) {
        (Decided::With(signer), Some(attestor)) if !stale.is_empty() => {
            Some((signer.as_ref(), attestor))
        }
        (Decided::With(signer), None) if !stale.is_empty() => {
            Some((signer.as_ref(), Attestor::begin(&job.session.context).map_err(one)?))
        }
        (_, begun) => {
            begun.map_or(Ok(()), |idle| idle.leave().wait()).map_err(one)?;
            None
        }
    };
    // Where no step ran it was not begun before.
    program::begin();
    stored(job)?;
    let exported = export(job)?;
    // The objects are on the disk before anything speaks of them.
    job.store.sync().map_err(|error| vec![refusal::store(&error)])?;
    let kiln_digest = program::begun().map_err(one)?;
    let inputs_name = inputs_name(job);
    for record in records.iter_mut() {
        let run = &mut record.observed.run;
        run.kiln_digest = kiln_digest;
        run.byproducts.push(evidence::inputs_byproduct(
            &inputs_name,
            exported.digest,
            job.wish.inputs.as_str(),
        ));
        run.byproducts.sort();
    }
    let refuse = |error: ExportError| vec![refusal::export(&error)];
    let (store, name) = (job.store, file_name(&inputs_name)?);
    let mut batch = Batch::new(out);
    let prepare = || {
        let inputs = out.ready(store, &name, &exported, false).map_err(refuse)?;
        Ok::<_, Vec<Diagnostic>>((inputs, readied(store, out, made)?))
    };
    let (sworn, ready) = std::thread::scope(|scope| {
        let ready = (!made.is_empty()).then(|| persist::meanwhile(scope, prepare));
        let sworn = signer.map(|some| swear(job, out, &mut batch, some, (made, records, stale)));
        let ready = ready.map(|ready| ready());
        Ok::<_, Vec<Diagnostic>>((sworn.transpose()?, ready.transpose()?))
    })?;
    let artifacts = ready.map(|(inputs, artifacts)| {
        batch.add(inputs);
        artifacts
    });
    batch.land().map_err(refuse)?;
    let Some((by, leaving)) = sworn else { return Ok((None, artifacts)) };
    leaving.wait().map_err(one)?;
    Ok((by, artifacts))
}

/// Has the attestor sign what is stale, and adds what came of it to the batch. Returns who signed, and the
/// attestor on its way out.
fn swear<'a>(
    job: &Job<'_>,
    out: &'a OutFolder,
    batch: &mut Batch<'a>,
    (signer, mut attestor): (&Signer, Attestor<'_>),
    (made, records, stale): (&[Made], &[Record], &[usize]),
) -> Result<(Option<String>, Leaving), Vec<Diagnostic>> {
    let refuse = |error: ExportError| vec![refusal::export(&error)];
    let wanted: Vec<(&Record, &Made)> =
        stale.iter().filter_map(|index| Some((records.get(*index)?, made.get(*index)?))).collect();
    // Whoever revoked the signer while the steps ran is heard.
    signing::check_revoked(job.session, &mut attestor)?;
    let link_by = signer.key().filter(|_| job.wish.classic_link);
    let signed = sign::sign(&mut attestor, job.store, &wanted, &job.wish.attest, link_by)
        .map_err(|diagnostic| vec![diagnostic])?;
    let leaving = attestor.leave();
    let mut by = None;
    for ((_, made), signed) in wanted.iter().zip(&signed) {
        by = Some(signed.by.clone());
        further::forget(out, &made.artifact.name, &job.wish.attest);
        further::forget_links(out, &made.artifact.name);
        for (suffix, bytes) in beside::evidence_files(signed) {
            let name = file_name(&format!("{}{suffix}", made.artifact.name))?;
            batch.add_bytes(&name, bytes).map_err(refuse)?;
        }
        if let Some((name, bytes)) = &signed.link {
            batch.add_bytes(&file_name(name)?, bytes).map_err(refuse)?;
        }
    }
    Ok((by, leaving))
}
