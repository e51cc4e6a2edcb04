//! The files of images, read ahead of whoever wants them. In: images, in the order in which they are
//! wanted. Out: the bytes of each and of its masks, or why there are none; images of archives one after
//! the other. This is the one way from an image that was listed to its bytes. Never here: decoding.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{join, try_join_all};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::budget::{Budget, FetchLimits, Held};
use super::open_file::OpenFile;
use super::{ArchiveKind, Columns, Ignored, Input, MaskSource, Member, Sample, read_archive};
use crate::error::{Failure, FailureCode, Stage, StoreError};
use crate::store::{FileVersion, runtime_for};

/// Reads files of an input. Clones share what may be in flight.
#[derive(Debug, Clone)]
pub struct Fetcher {
    input: Input,
    columns: Columns,
    max_bytes: u64,
    budget: Budget,
    runtime: &'static Runtime,
}

/// The names of an image's files.
#[derive(Debug, Clone, Copy)]
pub struct FileNames<'a> {
    /// A path below the input, or a URI.
    pub image: &'a str,
    pub version: Option<&'a FileVersion>,
    pub masks: &'a [Box<str>],
}

impl<'a> From<&'a Sample> for FileNames<'a> {
    fn from(sample: &'a Sample) -> Self {
        let masks = match &sample.mask {
            MaskSource::Files(ids) => &ids[..],
            MaskSource::Unknown | MaskSource::AllNormal => &[],
        };
        FileNames { image: sample.file(), version: sample.version.as_ref(), masks }
    }
}

/// A file with images in it that was opened.
pub struct OpenArchive<'a> {
    file: OpenFile,
    kind: ArchiveKind,
    fetcher: &'a Fetcher,
}

/// The files of an image that are on their way.
pub struct Fetching {
    answer: oneshot::Receiver<Fetched>,
    budget: Budget,
    /// How long files that are there and not used were in the way of asking for it.
    pub kept: Duration,
}

/// The files of an image.
#[derive(Debug)]
pub struct Fetched {
    pub image: Result<Bytes, Failure>,
    /// Of its mask; none where the listing names none.
    pub masks: Result<Vec<Bytes>, Failure>,
    /// How long it took to read them; nothing for a member of an archive, which comes with others.
    pub took: Option<Duration>,
    /// Given back with the bytes.
    _held: Option<Held>,
}

impl Fetcher {
    /// Reads from `input`, of archives these `columns`. A file of more than `max_bytes` is not read.
    /// `spare` images may wait beside those in flight.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn new(
        input: Input,
        columns: Columns,
        max_bytes: u64,
        limits: FetchLimits,
        spare: usize,
    ) -> Result<Self, StoreError> {
        let runtime = runtime_for(&input.display(""))?;
        Ok(Fetcher { input, columns, max_bytes, budget: Budget::new(limits, spare), runtime })
    }

    /// The same for another input.
    #[must_use]
    pub fn with_input(&self, input: Input) -> Self {
        Fetcher { input, ..self.clone() }
    }

    /// Where the images are.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Bytes of files that may be held at a time.
    pub fn most_bytes(&self) -> u64 {
        self.budget.most_bytes()
    }

    /// Begins to read the files of an image, whose own has `bytes` if that is known, as soon as there is
    /// room for it. `None` when `stop` is set.
    pub fn begin(
        &self,
        names: FileNames,
        bytes: Option<u64>,
        stop: &AtomicBool,
    ) -> Option<Fetching> {
        let (bytes, requests) = self.cost(&names, bytes);
        let (held, kept) = self.budget.hold(bytes, requests, stop)?;
        Some(Fetching { kept, ..self.spawn(&names, held) })
    }

    /// The files of `images`, in their order, each with as many behind it on their way as there is
    /// room for. Whoever holds one gives it back without waiting for the next.
    pub fn ahead<'a, T, I>(&self, images: I) -> Ahead<'a, T, I>
    where
        I: Iterator<Item = (T, FileNames<'a>)>,
    {
        Ahead { fetcher: self.clone(), begun: VecDeque::new(), held_back: None, images }
    }

    /// An image of an archive, as one that is on its way: waits for room. `None` when `stop` is set.
    pub fn hold(&self, image: Bytes, mask: Option<Bytes>, stop: &AtomicBool) -> Option<Fetching> {
        let bytes = image.len() + mask.as_ref().map_or(0, Bytes::len);
        let (held, kept) = self.budget.hold(bytes as u64, 0, stop)?;
        let (send, answer) = oneshot::channel();
        let _ = send.send(Fetched { _held: Some(held), ..Fetched::of(image, mask) });
        Some(Fetching { answer, budget: self.budget.clone(), kept })
    }

    /// Opens a file with images in it, which has `bytes` if that is known.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn open(
        &self,
        id: &str,
        kind: ArchiveKind,
        version: Option<&FileVersion>,
        bytes: Option<u64>,
    ) -> Result<OpenArchive<'_>, Failure> {
        let file = self.input.open_file(id, version, bytes)?;
        Ok(OpenArchive { file, kind, fetcher: self })
    }

    /// Bytes and requests of an image.
    fn cost(&self, names: &FileNames, bytes: Option<u64>) -> (u64, usize) {
        let masks = names.masks.len();
        let guess = self.budget.guess();
        (bytes.unwrap_or(guess) + masks as u64 * guess, 1 + masks)
    }

    fn spawn(&self, names: &FileNames, mut held: Held) -> Fetching {
        let (send, answer) = oneshot::channel();
        let fetch = |id: &str, version: Option<&FileVersion>| {
            let (place, version) = (self.input.find(id), version.cloned());
            let max_bytes = self.max_bytes;
            async move { place?.fetch(version, max_bytes).await }
        };
        let image = fetch(names.image, names.version);
        let masks = try_join_all(names.masks.iter().map(|id| fetch(id, None)));
        self.runtime.spawn(async move {
            let started = Instant::now();
            let (image, masks) = join(image, masks).await;
            // A mask that cannot be read is the mask's problem, not the image's.
            let masks = masks.map_err(|failure| Failure { stage: Stage::Mask, ..failure });
            let took = started.elapsed();
            let bytes = image.iter().chain(masks.iter().flatten()).map(Bytes::len).sum::<usize>();
            held.answered(bytes as u64, took);
            let took = Some(took);
            let _ = send.send(Fetched { image, masks, took, _held: Some(held) });
        });
        Fetching { answer, budget: self.budget.clone(), kept: Duration::ZERO }
    }
}

impl Fetching {
    /// Waits for them.
    pub fn wait(mut self) -> Fetched {
        if let Ok(fetched) = self.answer.try_recv() {
            return fetched;
        }
        let started = Instant::now();
        let answer = self.answer.blocking_recv();
        self.budget.waited(started.elapsed());
        answer.unwrap_or_else(|_| {
            let what = "reading this image broke off: please report it";
            let image = Err(Failure::new(Stage::Fetch, FailureCode::Internal, what));
            Fetched { image, masks: Ok(Vec::new()), took: None, _held: None }
        })
    }
}

impl OpenArchive<'_> {
    /// Length, bytes.
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// Hands its images to `take`, one after the other, until it wants no more; returns what is no
    /// image. Once the file cannot be read, that is what is wrong with all that follows.
    pub fn each(self, take: impl FnMut(Member) -> ControlFlow<()>) -> Ignored {
        let Fetcher { columns, max_bytes, .. } = self.fetcher;
        read_archive(self.file, self.kind, columns, *max_bytes, take)
    }
}

impl Fetched {
    /// Of all files that are there.
    pub fn bytes(&self) -> u64 {
        let files = self.image.iter().chain(self.masks.iter().flatten());
        files.map(|file| file.len() as u64).sum()
    }

    /// Files that are there.
    pub fn of(image: Bytes, mask: Option<Bytes>) -> Self {
        let masks = Ok(mask.into_iter().collect());
        Fetched { image: Ok(image), masks, took: None, _held: None }
    }
}

/// The files of images, in their order; see [`Fetcher::ahead`].
pub struct Ahead<'a, T, I> {
    fetcher: Fetcher,
    begun: VecDeque<(T, Fetching)>,
    /// The one that there was no room for.
    held_back: Option<(T, FileNames<'a>)>,
    images: I,
}

impl<'a, T, I: Iterator<Item = (T, FileNames<'a>)>> Iterator for Ahead<'a, T, I> {
    type Item = (T, Fetched);

    fn next(&mut self) -> Option<Self::Item> {
        let Ahead { fetcher, begun, held_back, images } = self;
        while let Some((image, names)) = held_back.take().or_else(|| images.next()) {
            let (bytes, requests) = fetcher.cost(&names, None);
            let held = match begun.is_empty() {
                // What there is no room for is being used by others, who give it back.
                true => fetcher
                    .budget
                    .hold(bytes, requests, &AtomicBool::new(false))
                    .map(|(held, _)| held),
                false => fetcher.budget.try_hold(bytes, requests),
            };
            match held {
                Some(held) => begun.push_back((image, fetcher.spawn(&names, held))),
                None => {
                    *held_back = Some((image, names));
                    break;
                }
            }
        }
        begun.pop_front().map(|(image, fetching)| (image, fetching.wait()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::store::Store;

    const IMAGES: usize = 60;
    const BYTES: usize = 100 << 10;

    /// Images in a store that lets wait for each, and a fetcher that holds 1 MiB.
    fn far_away(requests: Option<usize>) -> (Fetcher, Vec<String>) {
        let inner = InMemory::new();
        let names = (0..IMAGES).map(|n| format!("{n:03}.png")).collect::<Vec<_>>();
        futures::executor::block_on(async {
            for (n, name) in names.iter().enumerate() {
                let bytes = vec![n as u8; BYTES];
                inner.put(&name.as_str().into(), bytes.into()).await.unwrap();
            }
        });
        let wait_get_per_call = Duration::from_millis(20);
        let config = ThrottleConfig { wait_get_per_call, ..ThrottleConfig::default() };
        let store: Arc<dyn ObjectStore> = Arc::new(ThrottledStore::new(inner, config));
        let input = Input::bucket(&"s3://far".parse().unwrap(), Store::of(store, "s3://far"));
        let limits = FetchLimits {
            requests: requests.and_then(std::num::NonZeroUsize::new),
            memory_mib: std::num::NonZeroUsize::new(1),
        };
        (Fetcher::new(input, Columns::default(), 1 << 20, limits, 4).unwrap(), names)
    }

    fn of(name: &str) -> FileNames<'_> {
        FileNames { image: name, version: None, masks: &[] }
    }

    #[test]
    fn files_come_in_order_and_many_are_on_their_way() {
        let (fetcher, names) = far_away(None);
        let started = Instant::now();
        let found = fetcher.ahead(names.iter().enumerate().map(|(n, name)| (n, of(name))));
        for (expected, (n, fetched)) in found.enumerate() {
            assert_eq!((n, fetched.image.unwrap()[0] as usize), (expected, expected));
        }
        // One after the other they take 1.2 s.
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    }

    #[test]
    fn bytes_that_wait_are_bounded_whatever_the_latency() {
        let (fetcher, names) = far_away(Some(50));
        let (begun, used) = (AtomicU64::new(0), AtomicU64::new(0));
        let (send, receive) = crossbeam_channel::unbounded();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for name in &names {
                    // Where nobody knows the size, the first ones tell that of the others.
                    let bytes = Some(BYTES as u64);
                    let coming = fetcher.begin(of(name), bytes, &AtomicBool::new(false)).unwrap();
                    let begun = begun.fetch_add(1, Ordering::SeqCst) + 1;
                    let ahead = begun - used.load(Ordering::SeqCst);
                    assert!(ahead * BYTES as u64 <= 1 << 20, "{ahead} images wait");
                    send.send(coming).unwrap();
                }
                drop(send);
            });
            for coming in receive {
                let fetched = coming.wait();
                // Somebody slow.
                std::thread::sleep(Duration::from_millis(1));
                assert_eq!(fetched.bytes(), BYTES as u64);
                // Counted first: what is given back may be asked for at once.
                used.fetch_add(1, Ordering::SeqCst);
                drop(fetched);
            }
        });
        assert_eq!(used.load(Ordering::SeqCst), IMAGES as u64);
    }

    #[test]
    fn what_is_not_there_and_a_signal_are_answers_too() {
        let (fetcher, _) = far_away(None);
        let masks: [Box<str>; 1] = ["mask.png".into()];
        let names = FileNames { image: "001.png", version: None, masks: &masks };
        let fetched = fetcher.begin(names, None, &AtomicBool::new(false)).unwrap().wait();
        assert_eq!(fetched.image.as_ref().unwrap().len(), BYTES);
        assert_eq!(fetched.masks.as_ref().unwrap_err().stage, Stage::Mask);
        let gone = fetcher.begin(of("gone.png"), None, &AtomicBool::new(false)).unwrap().wait();
        assert_eq!(gone.image.unwrap_err().code, FailureCode::Unreadable);
        assert!(fetcher.begin(of("002.png"), None, &AtomicBool::new(true)).is_none());
    }
}
