//! One run of `filo score`: a job spec goes in, a committed output comes out. Opens the input, the
//! weights and the output, gives the run its name, and hands all of it to the stages.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::claims::Claims;
use super::decision::Decider;
use super::features::FeatureMaker;
use super::fetch::FetchSettings;
use super::finish::{FinishSettings, KeptMaps};
use super::heartbeat::with_heartbeat;
use super::identity::{Ids, descriptions_of, generic_categories, identity, made_by};
use super::infer::{Infer, Inferencer};
use super::localise::DETECTOR_SIDE;
use super::networks::Networks;
use super::plan::Plan;
use super::planned::{listed, with_plan};
use super::prepare::{PrepareSettings, ReferredPlanes};
use super::references::References;
use super::references::choose::{ReferenceSource, Start, Wanted};
use super::references::make::{Made, ReferenceMaker};
use super::repair::{Repair, SeenNow};
use super::retry::Task;
use super::skip::without_scored;
use super::tiles_ahead::TilesAhead;
use super::timings::Phase;
use super::{Ending, Pipeline, Progress};
use crate::device::{self, Device, NetworkBackend, OnBackend};
use crate::error::{Error, TableError};
use crate::image::{DecodeLimits, DetectorSide, Size};
use crate::job::{
    GroundingChoice, JobSpec, MapsChoice, Partition, ReferenceChoice, ReferenceFallback, RetryMode,
    TileChoice, TileSpec,
};
use crate::model::filo::anomaly_map::AnomalyMapper;
use crate::reference::{IMAGE_SIZE, MadeBy};
use crate::source::{Category, Fetcher, Shard};
use crate::store::{Store, both};
use crate::tables::{
    self, ExpectedShard, Lease, Leases, Manifest, MapsFormat, OutputState, RunIdentity, RunWriter,
    Worker, WorkerState,
};
use crate::tile::Tiling;
use crate::weights::look_at;

/// A run that is ready to start.
pub struct Run {
    infer: Box<dyn Infer>,
    fetch: FetchSettings,
    prepare: PrepareSettings,
    finish: FinishSettings,
    writer: RunWriter,
    /// What this worker has to do: its partition without what is committed.
    tasks: Vec<Task>,
    expected: Vec<ExpectedShard>,
    references: ToMake,
    partition: Partition,
    /// Images of this worker's partition that an earlier start committed.
    pub resumed: u64,
    /// What is known of failures that are tried again, where that is wanted.
    pub repair: Option<Repair>,
    took: Took,
}

/// How long it took to have a run that is ready to start.
#[derive(Debug, Clone, Copy)]
struct Took {
    list: Duration,
    open: Duration,
}

/// References that have to be there before the first shard.
struct ToMake {
    /// Earlier runs, whose references come first.
    earlier: Vec<String>,
    source: ReferenceSource,
    made_by: MadeBy,
    on_missing: ReferenceFallback,
}

/// What a run left behind.
pub enum Outcome {
    /// Every shard of the listing is committed and the counts add up.
    Finished(Box<Manifest>),
    /// This worker's part is done, other workers still have theirs.
    PartDone,
    /// A signal came first.
    Stopped,
}

/// What a run would have to do, and where.
pub struct Seen {
    pub plan: Plan,
    /// Digest of the weights.
    pub model_id: String,
    pub output: OutputState,
    /// How many tiles are to be expected; `None` if images are not tiled.
    pub tiles: Option<TilesAhead>,
}

impl Run {
    /// Lists the input, loads the weights, begins or resumes the run in the output. A run that was
    /// begun has its plan there, and nothing is listed again. The output is written last: what is
    /// wrong before leaves no trace there.
    ///
    /// # Errors
    /// If any of the three cannot be used as the spec says.
    pub fn open(spec: &JobSpec) -> Result<Self, Error> {
        assembled(spec, |run| {
            // Before the output is written: the same output may be used when this is set right.
            if run.is_new {
                run.source.check(&run.plan.shards, spec.reference_fallback)?;
            }
            run.begin(spec)
        })
    }

    /// As [`Run::open`], but writes nothing.
    ///
    /// # Errors
    /// As [`Run::open`].
    pub fn look(spec: &JobSpec) -> Result<Seen, Error> {
        assembled(spec, |run| {
            run.source.check(&run.plan.shards, spec.reference_fallback)?;
            let output = match Store::try_out(&spec.output)? {
                Some(store) => OutputState::of(&store, &run.identity)?,
                None => OutputState::New,
            };
            let tiles = match run.tiling(spec) {
                Some(tiling) => {
                    let fetcher = run.fetcher(spec)?;
                    Some(TilesAhead::of(&run.plan, &tiling, &fetcher))
                }
                None => None,
            };
            let Assembled { plan, model_id, .. } = run;
            Ok(Seen { plan, model_id, output, tiles })
        })
    }

    /// Images that this worker has yet to score; `None` where some are in archives that have not
    /// been read.
    pub fn pictures(&self) -> Option<u64> {
        self.tasks.iter().map(Task::pictures).sum()
    }

    /// Scores them.
    ///
    /// # Errors
    /// If the output cannot be written, or its counts do not add up.
    pub fn start(self, progress: &Progress, stop: &AtomicBool) -> Result<Outcome, Error> {
        progress.timings.add(Phase::List, self.took.list);
        progress.timings.add(Phase::Open, self.took.open);
        let worker = Worker::new(self.partition.to_string());
        let store = self.writer.store().clone();
        let leases = Leases::new(store.clone(), &worker);
        let work = || self.work(&leases, progress, stop);
        with_heartbeat(worker, &store, progress, work, |outcome| match outcome {
            Ok(Outcome::Finished(_) | Outcome::PartDone) => WorkerState::Done,
            Ok(Outcome::Stopped) => WorkerState::Stopped,
            Err(_) => WorkerState::Failed,
        })
    }

    fn work(
        self,
        leases: &Leases,
        progress: &Progress,
        stop: &AtomicBool,
    ) -> Result<Outcome, Error> {
        let Run { mut infer, fetch, prepare, finish, writer, tasks, expected, .. } = self;
        let ToMake { earlier, source, made_by, on_missing } = self.references;
        let mut maker = ReferenceMaker {
            infer: &mut *infer,
            fetch: &fetch,
            prepare: &prepare,
            finish: &finish,
            made_by: &made_by,
            earlier: &earlier,
            store: writer.store(),
            leases,
            stop,
            there: HashSet::new(),
            done: Vec::new(),
        };
        let wanted = Wanted::of(&tasks, self.partition);
        let ours = tasks.iter().map(|task| task.shard.id.clone()).collect::<HashSet<_>>();
        let claims = Claims::new(tasks, leases, &writer, progress, stop);
        let timings = &progress.timings;
        let make = || maker.make(source, &wanted, on_missing);
        // The first shard is claimed meanwhile.
        let (claimed, made) =
            timings.phase(Phase::References, || both(|| claims.take_first(), make));
        let done = maker.done;
        if made? == Made::Stopped {
            release(leases, &done)?;
            return Ok(Outcome::Stopped);
        }
        claimed?;
        let (decider, references) = (finish.decider.clone(), finish.references.clone());
        let prepare = PrepareSettings { references: references.clone(), ..prepare };
        let claims = &claims;
        let pipeline =
            Pipeline { claims, fetch, prepare, infer, finish, writer: &writer, progress, stop };
        let score = || timings.phase(Phase::Score, || pipeline.run());
        let (released, ended) = both(|| release(leases, &done), score);
        released?;
        if !matches!(ended, Ok(Ending::Complete)) {
            let given_back = claims.give_back();
            return ended.and(given_back).map(|()| Outcome::Stopped).map_err(Error::from);
        }
        let finish = || writer.finish(&expected, |run| decider.table(run, &references));
        let (given_back, finished) =
            timings.phase(Phase::Close, || both(|| claims.give_back(), finish));
        given_back?;
        match finished {
            Ok(manifest) => Ok(Outcome::Finished(Box::new(manifest))),
            Err(TableError::MissingShards { shards, .. })
                if shards.iter().all(|shard| !ours.contains(shard)) =>
            {
                Ok(Outcome::PartDone)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Hands a run that is whole but for its output to `end`: the one that the output has a plan of, or a
/// new one.
fn assembled<T>(spec: &JobSpec, end: impl Fn(Assembled) -> Result<T, Error>) -> Result<T, Error> {
    let started = Instant::now();
    look_at_weights(spec)?;
    with_plan(spec, |plan, start| end(Assembled::of(spec, plan, start, [started, Instant::now()])?))
}

/// Listing a large archive takes minutes: a slip in the name of weights shows before.
fn look_at_weights(spec: &JobSpec) -> Result<(), Error> {
    let detector = match spec.grounding {
        GroundingChoice::Off => None,
        GroundingChoice::Auto | GroundingChoice::On => spec.grounding_weights.as_ref(),
    };
    for weights in spec.weights.iter().chain(detector) {
        look_at(weights)?;
    }
    Ok(())
}

/// All of a run but its output.
struct Assembled {
    plan: Plan,
    identity: RunIdentity,
    model_id: String,
    infer: Box<dyn Infer>,
    mapper: AnomalyMapper,
    side: usize,
    /// Edge length of the largest image that the networks read.
    tile_side: usize,
    peak_share: Option<f64>,
    batch_size: usize,
    detector_side: Option<DetectorSide>,
    referred: Option<ReferredPlanes>,
    decider: Decider,
    source: ReferenceSource,
    made_by: MadeBy,
    /// The input was listed for it.
    is_new: bool,
    /// When it was begun, and when it had a plan.
    since: [Instant; 2],
}

/// What an [`Assembled`] is made of.
struct Assemble<'a> {
    spec: &'a JobSpec,
    device: &'a Device,
    plan: Plan,
    start: Start,
    since: [Instant; 2],
}

impl OnBackend for Assemble<'_> {
    type Output = Result<Assembled, Error>;

    fn on<B: NetworkBackend>(self) -> Self::Output {
        Assembled::on::<B>(self)
    }
}

impl Assembled {
    /// Opens the device and all that is read from it but images.
    fn of(spec: &JobSpec, plan: Plan, start: Start, since: [Instant; 2]) -> Result<Self, Error> {
        let device = device::device(spec.device, spec.precision)?;
        device::on_backend(&device, Assemble { spec, device: &device, plan, start, since })
    }

    fn on<B: NetworkBackend>(assemble: Assemble) -> Result<Self, Error> {
        let Assemble { spec, device, plan, start, since } = assemble;
        let networks = Networks::<B>::open(spec, device)?;
        let (descriptions, descriptions_id) = descriptions_of(spec.descriptions.as_deref())?;

        let side = networks.config.vision.image_size;
        let mapper = AnomalyMapper::new(networks.config.vision.grid(), side);
        let peak_share = networks.config.peak_share;
        let batch_size =
            device::batch_size(spec.batch_size, &networks.config, networks.detector(), device);
        let detector_side = networks.has_detector().then_some(DETECTOR_SIDE);
        let decider = Decider::open(spec)?;
        let features = match spec.reference {
            ReferenceChoice::None => None,
            _ if spec.weights.is_none() => Some(FeatureMaker::backbone(device)?),
            _ => Some(FeatureMaker::patch_tokens(&networks.config, device)),
        };
        let ids = Ids {
            model: &networks.model_id,
            descriptions: &descriptions_id,
            generic: &[],
            decision: decider.identity(),
            features: features.as_ref().map(FeatureMaker::<B>::id),
        };
        let plan = match start {
            Start::First if !spec.skip_scored.is_empty() => {
                let now = identity(spec, &plan, None, ids.clone()).spec;
                without_scored(spec, plan, &now)?
            }
            Start::First | Start::Again => plan,
        };
        let file = match start {
            Start::First => Some(tables::encode_plan(plan.rows())?),
            Start::Again => None,
        };
        let generic = generic_categories(&plan, &descriptions);
        let ids = Ids { generic: &generic, ..ids };
        decider.warn_of_unknown(plan.categories.keys().map(Category::as_str));
        let source = ReferenceSource::open(spec, &plan.input, &plan.shards, start)?;
        let made_by = made_by(spec, &ids, networks.config.vision.image_size);
        let identity = identity(spec, &plan, file, ids);
        let model_id = networks.model_id.clone();
        let referred = features.as_ref().map(FeatureMaker::<B>::planes);
        let mut infer = Inferencer::new(networks, features, descriptions, device.clone())?;
        infer.read_words(&mut plan.categories.keys())?;
        Ok(Assembled {
            plan,
            identity,
            model_id,
            infer: Box::new(infer),
            mapper,
            side,
            tile_side: if spec.weights.is_none() { side.max(IMAGE_SIZE) } else { side },
            peak_share,
            batch_size,
            detector_side,
            referred,
            decider,
            source,
            made_by,
            is_new: start == Start::First,
            since,
        })
    }

    /// How images are tiled; `None` if they are not.
    fn tiling(&self, spec: &JobSpec) -> Option<Tiling> {
        spec.tile.map(|tile| tiling(tile, self.tile_side))
    }

    /// Reads the images.
    fn fetcher(&self, spec: &JobSpec) -> Result<Fetcher, Error> {
        // A batch that is being decoded, the next one, and what the networks need while the next shard is
        // claimed and the next archive is opened.
        let spare = 2 * self.batch_size + 64;
        let (input, columns) = (self.plan.input.clone(), spec.columns.clone());
        Ok(Fetcher::new(input, columns, limits(spec).max_bytes, spec.fetch, spare)?)
    }

    /// Begins or resumes the run in its output.
    fn begin(self, spec: &JobSpec) -> Result<Run, Error> {
        let (tiling, fetcher) = (self.tiling(spec), self.fetcher(spec)?);
        let Assembled { plan, infer, source, made_by, .. } = self;
        let writer = RunWriter::open(Store::create(&spec.output)?, self.identity)?;
        let prepare = PrepareSettings {
            side: self.side,
            detector_side: self.detector_side,
            referred: self.referred,
            tiling,
            references: References::none(),
            batch_size: self.batch_size,
            mode: spec.preprocess,
            limits: limits(spec),
        };
        let fetch =
            FetchSettings { fetcher, batch_size: self.batch_size, output: writer.store().clone() };
        let finish = FinishSettings {
            keep: spec.columns.keep.iter().map(|name| name.as_str().into()).collect(),
            mapper: self.mapper,
            peak_share: self.peak_share,
            decider: self.decider,
            references: match source.is_some() {
                true => {
                    let required_of = ReferenceSource::required_of(spec);
                    References::of_run(writer.store().clone(), made_by.clone(), required_of)
                }
                false => References::none(),
            },
            maps: match spec.maps {
                MapsChoice::None => KeptMaps::None,
                MapsChoice::Flagged => KeptMaps::Flagged,
                MapsChoice::F32 => KeptMaps::All(MapsFormat::F32),
                MapsChoice::F16 => KeptMaps::All(MapsFormat::F16),
            },
            store: writer.store().clone(),
            model_id: self.model_id,
            input: plan.input.clone(),
        };
        let expected = expected(&plan);
        let earlier = plan.skipped.as_ref().map_or_else(Vec::new, |of| of.references.clone());
        let Found { tasks, resumed, repair } = tasks(plan, spec, &writer)?;
        let partition = spec.partition;
        let on_missing = spec.reference_fallback;
        let references = ToMake { earlier, source, made_by, on_missing };
        let [begun, planned] = self.since;
        let took = Took { list: planned - begun, open: planned.elapsed() };
        Ok(Run {
            infer,
            fetch,
            prepare,
            finish,
            writer,
            tasks,
            expected,
            references,
            partition,
            resumed,
            repair,
            took,
        })
    }
}

/// How images are tiled as the spec says, by networks that read `side` × `side` pixels.
fn release(leases: &Leases, done: &[Lease]) -> Result<(), TableError> {
    done.iter().try_for_each(|lease| leases.release(lease))
}

fn limits(spec: &JobSpec) -> DecodeLimits {
    DecodeLimits::of_pixels(spec.max_pixels.get())
}

fn tiling(spec: TileSpec, side: usize) -> Tiling {
    let of_network = Size::square(side);
    let (tile, times) = match spec.tile {
        TileChoice::Size(tile) => (tile, 1),
        TileChoice::Auto | TileChoice::Off => (of_network, 2),
    };
    let scaled = |side: usize| ((side as f64 / spec.scale.get()).round() as usize).max(1);
    let tile = Size { width: scaled(tile.width), height: scaled(tile.height) };
    let beyond = Size { width: times * tile.width, height: times * tile.height };
    Tiling { tile, overlap: spec.overlap.get(), beyond }
}

fn expected(plan: &Plan) -> Vec<ExpectedShard> {
    let shard =
        |shard: &Shard| ExpectedShard { shard_id: shard.id.clone(), entries: shard.pictures() };
    plan.shards.iter().map(shard).collect()
}

/// What a worker found to do.
struct Found {
    /// The shards of its partition that are not committed, or are tried again.
    tasks: Vec<Task>,
    /// Images that are done.
    resumed: u64,
    repair: Option<Repair>,
}

fn tasks(plan: Plan, spec: &JobSpec, writer: &RunWriter) -> Result<Found, Error> {
    let (mut tasks, mut resumed) = (Vec::new(), 0);
    let mut repair = (spec.retry_failed == RetryMode::RetryFailed).then(Repair::default);
    let mut seen = None;
    // Listed once, and only if a failure asks for it.
    let mut now = || -> Result<Rc<SeenNow>, Error> {
        if let Some(seen) = &seen {
            return Ok(Rc::clone(seen));
        }
        let listed = Rc::new(SeenNow::from(listed(spec)?));
        Ok(Rc::clone(seen.insert(listed)))
    };
    let bytes = plan.shards.iter().map(Shard::bytes).collect::<Vec<_>>();
    let dealt = Partition::deal(spec.partition.count(), &bytes);
    let dealt = plan.shards.into_iter().zip(dealt);
    let ours = dealt.filter(|(_, worker)| *worker == spec.partition.index());
    for (shard, _) in ours {
        let Some(entry) = writer.committed(&shard.id) else {
            tasks.push(Task::new(shard));
            continue;
        };
        resumed += entry.images();
        if let Some(repair) = &mut repair
            && let Some(task) = repair.task(shard, entry, writer.store(), &mut now)?
        {
            resumed -= task.pictures().unwrap_or_default();
            tasks.push(task);
        }
    }
    Ok(Found { tasks, resumed, repair })
}
