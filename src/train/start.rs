//! What a training starts from. In: weights, or a configuration and a seed, and the texts that
//! prompts may have. Out: a network whose text tower holds only the rows that these texts need, if
//! it learns: a step would otherwise pass over 49 408 rows to move a hundred.

use std::path::PathBuf;

use burn::tensor::backend::Backend as _;

use super::compose::all_texts;
use super::data::TrainingData;
use super::network::{NamedValues, named_values, scoring, trainable, with_values};
use super::prompts::{PromptEncoder, Vocabulary};
use super::spec::TrainSpec;
use crate::device::{Backend, Device, TrainBackend};
use crate::error::{Error, TrainError, WeightsError};
use crate::model::clip::tokenizer::ClipTokenizer;
use crate::model::config::FiloConfig;
use crate::model::filo::Filo;
use crate::weights::config::read_config;
use crate::weights::load::{bundled_filo, load_filo};
use crate::weights::{Weights, WeightsPlace};

/// The token table among a network's parameters.
const TOKENS: &str = "text_encoder.token_embedding.weight";

/// The word for things without a name of their own.
const STAND_IN: &str = "object";

/// The last layer of the adapter.
const ADAPTER_OUT: &str = "adapter.up.weight";

/// Where the first weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Init {
    /// The seed of the job.
    Random,
    /// Weights that are there already.
    From(WeightsPlace),
}

/// A network ready to be trained, with all that belongs to it.
pub struct Setup {
    /// Of the network as it is written.
    pub config: FiloConfig,
    /// Of the network as it is trained: its token table may be shorter.
    pub(super) trained: FiloConfig,
    pub(super) network: Filo<TrainBackend>,
    pub(super) encoder: PromptEncoder,
    /// The token table as it is written, `[vocabulary, width]`; `None` if it is trained whole.
    pub(super) table: Option<Vec<f32>>,
    pub(super) device: Device,
    /// Digest of configuration and first weights.
    pub(super) digest: String,
}

impl Setup {
    /// Makes or loads the network of `init`; `sets` are all that it learns from or is validated on.
    /// `config` is needed for a random one, and says how a loaded one is built where it has no
    /// `config.json` of its own, or another image size.
    ///
    /// # Errors
    /// If there is no configuration, weights cannot be read or do not fit, or the text tower is
    /// not made for the tokenizer.
    pub fn new(
        init: &Init,
        config: Option<PathBuf>,
        spec: &TrainSpec,
        sets: &[&dyn TrainingData],
        device: &Device,
    ) -> Result<Self, Error> {
        let (network, config, source) = match (init, config) {
            (Init::Random, None) => return Err(TrainError::NoConfig.into()),
            (Init::Random, Some(path)) => {
                let config = checked(read_config(&path)?, path)?;
                let source = format!("random {}", spec.seed);
                (random(&config, spec.seed, device), config, source)
            }
            (Init::From(place), own) => {
                let weights = Weights::open(place)?;
                let config = match own {
                    Some(path) => read_config(&path)?,
                    None => weights.config()?,
                };
                let config = checked(config, place.path().into())?;
                let (network, source) = match &weights {
                    Weights::Bundle(bundle) => {
                        (bundled_filo(bundle, &config, device)?, bundle.model_id())
                    }
                    Weights::Checkpoint(checkpoint) => {
                        let (network, _) = load_filo(checkpoint, &config, device)?;
                        (network, checkpoint.fingerprint()?)
                    }
                };
                (network, config, source)
            }
        };
        let tokenizer = ClipTokenizer::embedded()?;
        let texts = sets.iter().flat_map(|data| {
            let states = data.categories().into_iter().map(|category| data.prompts(&category));
            states.flat_map(|states| all_texts(&states, config.n_ctx)).collect::<Vec<_>>()
        });
        let texts = texts.collect::<Vec<_>>();
        let digest = format!("{} {source}", serde_json::json!(config));
        let digest = blake3::hash(digest.as_bytes()).to_hex().to_string();
        let mut setup = Setup {
            trained: config.clone(),
            encoder: PromptEncoder::new(tokenizer.clone(), Vocabulary::Full, config.n_ctx),
            table: None,
            device: device.clone(),
            network: trainable(&network, &config, device),
            config,
            digest,
        };
        if spec.rate_backbone.is_some() {
            let vocabulary = Vocabulary::of(&tokenizer, texts.iter().map(String::as_str));
            setup.shorten(&network, tokenizer, vocabulary, init);
        }
        Ok(setup)
    }

    /// Leaves only the rows of `vocabulary` to the text tower. In a network of random weights the
    /// rows of words that no text has are zero.
    fn shorten(
        &mut self,
        network: &Filo<Backend>,
        tokenizer: ClipTokenizer,
        vocabulary: Vocabulary,
        init: &Init,
    ) {
        let Vocabulary::Some(tokens) = &vocabulary else { return };
        let mut values = named_values(network);
        let Some(mut table) = values.remove(TOKENS) else { return };
        let width = self.config.text.width;
        let rows = tokens.iter().flat_map(|&token| &table[token as usize * width..][..width]);
        values.insert(TOKENS.to_string(), rows.copied().collect());
        if *init == Init::Random {
            table.fill(0.0);
        }
        self.trained.text.vocab_size = tokens.len();
        self.network = with_values(Filo::new(&self.trained, &self.device), &values);
        self.encoder = PromptEncoder::new(tokenizer, vocabulary, self.config.n_ctx);
        self.table = Some(table);
    }

    /// The network with `values`, as it scores: its token table is the trained one.
    pub(super) fn scorer(&self, values: &NamedValues) -> Filo<Backend> {
        let network = scoring(&self.network, &self.trained, &self.device);
        with_values(network, values)
    }

    /// The network with `values`, as it is written: its token table is whole. A word that no text
    /// had, of zeros so far or with the row that [`STAND_IN`] had at the start, gets the row of
    /// [`STAND_IN`], if a text had that: it is one that the network has learned from.
    pub(super) fn whole(&self, values: &NamedValues) -> Filo<Backend> {
        let short = self.scorer(values);
        let (Some(table), Vocabulary::Some(tokens)) = (&self.table, self.encoder.vocabulary())
        else {
            return short;
        };
        let mut values = named_values(&short);
        let width = self.config.text.width;
        let mut whole = table.clone();
        if let Some(rows) = values.remove(TOKENS) {
            let rows = tokens.iter().zip(rows.chunks_exact(width));
            let stand_in = self.encoder.token(STAND_IN);
            if let Some((_, row)) = rows.clone().find(|(token, _)| Some(**token) == stand_in) {
                let before = |token: u32| &table[token as usize * width..][..width];
                let before = stand_in.map(before);
                let unknown = whole
                    .chunks_exact_mut(width)
                    .filter(|row| row.iter().all(|&value| value == 0.0) || before == Some(&**row));
                unknown.for_each(|unknown| unknown.copy_from_slice(row));
            }
            for (&token, row) in rows {
                whole[token as usize * width..][..width].copy_from_slice(row);
            }
        }
        values.insert(TOKENS.to_string(), whole);
        with_values(Filo::new(&self.config, &self.device), &values)
    }
}

fn checked(config: FiloConfig, path: PathBuf) -> Result<FiloConfig, WeightsError> {
    config
        .validate_for_tokenizer()
        .map_err(|error| WeightsError::BadConfig { path, what: error.what })?;
    Ok(config)
}

/// Random weights; the adapter starts as the identity, so that a network that has not been through
/// stage 2 scores as it was trained. Both prompt learners start alike and blind to the image:
/// what differs between the two texts is then their words, and no map is saturated.
fn random(config: &FiloConfig, seed: u64, device: &Device) -> Filo<Backend> {
    Backend::seed(device, seed);
    let network = Filo::new(config, device);
    let mut values = named_values(&network);
    if let Some(out) = values.get_mut(ADAPTER_OUT) {
        out.fill(0.0);
    }
    for learner in ["normal_prompt_learner", "abnormal_prompt_learner"] {
        for end in ["weight", "bias"] {
            if let Some(layer) = values.get_mut(&format!("{learner}.meta_net.linear2.{end}")) {
                layer.fill(0.0);
            }
        }
    }
    if let Some(context) = values.get("normal_prompt_learner.ctx").cloned() {
        values.insert("abnormal_prompt_learner.ctx".to_string(), context);
    }
    with_values(network, &values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::train::Generated;
    use crate::train::spec::{RawTrainSpec, Unfreeze};

    #[test]
    fn a_word_that_no_text_had_gets_the_row_of_the_stand_in() {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/nano/config-64.json");
        let spec = RawTrainSpec::default().validate(Unfreeze::Backbone).unwrap();
        let data = Generated::training(1, 64, None).unwrap();
        let setup =
            Setup::new(&Init::Random, Some(config.into()), &spec, &[&data], &cpu()).unwrap();
        let table = named_values(&setup.whole(&named_values(&setup.network))).remove(TOKENS);
        let table = table.unwrap();
        let row = |word: &str| {
            let width = setup.config.text.width;
            let token = setup.encoder.token(word).unwrap();
            table[token as usize * width..][..width].to_vec()
        };
        assert_eq!(row("zebra"), row(STAND_IN));
        assert_ne!(row("crack"), row(STAND_IN));
        let zeros = vec![0.0; setup.config.text.width];
        assert_ne!(row("crack"), zeros);
        assert_ne!(row(STAND_IN), zeros);
    }
}
