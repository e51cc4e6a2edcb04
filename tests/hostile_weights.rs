//! Weights from strangers: whatever is done to a file, reading it ends with numbers or an error,
//! never in a panic, and never takes memory out of proportion to the file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::path::{Path, PathBuf};

use filo::weights::Checkpoint;
use proptest::prelude::*;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Counts what each thread holds, and the most it ever held.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed on to the system's allocator unchanged; only counters are kept.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Threads that end have no counters any more.
        let _ = HELD.try_with(|held| {
            held.set(held.get().saturating_add(layout.size()));
            let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
        });
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(layout.size())));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What reading may take beside a fixed buffer: a parsed index and one tensor at a time are small
/// multiples of the file.
const BYTES_PER_BYTE: usize = 64;
const BUFFERS: usize = 4 << 20;

/// Opens `path` and reads every tensor; how many could be read.
fn read_all(path: &Path) -> Option<usize> {
    let size = std::fs::metadata(path).unwrap().len() as usize;
    let before = HELD.get();
    MOST.set(before);
    let read = Checkpoint::open(path).ok().map(|checkpoint| {
        let tensors = checkpoint.tensors().values();
        tensors.filter(|tensor| tensor.to_data().is_ok()).count()
    });
    let most = MOST.get() - before;
    let allowed = BUFFERS + BYTES_PER_BYTE * size;
    assert!(most <= allowed, "{most} bytes for a file of {size}");
    read
}

fn small(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights_small").join(name)
}

/// The one folder of a test and the file in it that is read again and again.
fn scratch() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("weights");
    (folder, path)
}

#[test]
fn ten_thousand_damaged_files_neither_panic_nor_swell() {
    let (_folder, path) = scratch();
    let files = ["strided.pth", "detector.pth", "os_system.pth", "heads.pth", "clip_openai.pt"];
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut opened, mut refused) = (0, 0);
    for (file, rounds) in files.iter().zip([4000, 3000, 1000, 1000, 1000]) {
        let whole = std::fs::read(small(file)).unwrap();
        // Where the structure is: a pickle at the front, the directory at the back.
        let front = whole.len().min(6000);
        for _ in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..rng.usize(1..4) {
                let at = match rng.u8(..4) {
                    0 => rng.usize(..whole.len()),
                    1 => rng.usize(whole.len() - whole.len().min(2500)..whole.len()),
                    _ => rng.usize(..front),
                };
                bytes[at] ^= rng.u8(1..);
            }
            std::fs::write(&path, &bytes).unwrap();
            match read_all(&path) {
                Some(_) => opened += 1,
                None => refused += 1,
            }
        }
    }
    assert_eq!(opened + refused, 10_000);
    // Both ends of the code were reached.
    assert!(opened > 500 && refused > 500, "{opened} opened, {refused} refused");
}

#[test]
fn damaged_safetensors_neither_panic_nor_swell() {
    let (_folder, path) = scratch();
    let whole = std::fs::read(small("clip_transformers.safetensors")).unwrap();
    let mut rng = fastrand::Rng::with_seed(8);
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        let at = if rng.bool() { rng.usize(..8) } else { rng.usize(..8000) };
        bytes[at] ^= rng.u8(1..);
        std::fs::write(&path, &bytes).unwrap();
        read_all(&path);
    }
}

/// An archive around a pickle of ours, with one storage of `floats` numbers.
fn archive(path: &Path, pickle: &[u8], floats: usize) {
    let mut zip = ZipWriter::new(std::fs::File::create(path).unwrap());
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("x/data.pkl", stored).unwrap();
    zip.write_all(pickle).unwrap();
    zip.start_file("x/data/0", stored).unwrap();
    let numbers = (0..floats).flat_map(|n| (n as f32).to_le_bytes()).collect::<Vec<_>>();
    zip.write_all(&numbers).unwrap();
    zip.finish().unwrap();
}

/// The pickle of `{"t": tensor}` with these properties, as PyTorch writes it.
fn tensor_pickle(storage: &str, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }
    fn number(out: &mut Vec<u8>, number: i64) {
        out.extend([0x8a, 8]);
        out.extend(number.to_le_bytes());
    }
    fn tuple(out: &mut Vec<u8>, numbers: &[i64]) {
        out.push(b'(');
        numbers.iter().for_each(|&n| number(out, n));
        out.push(b't');
    }
    let mut out = b"\x80\x02}".to_vec();
    text(&mut out, "t");
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(&mut out, "storage");
    out.extend(format!("ctorch\n{storage}\n").into_bytes());
    text(&mut out, "0");
    text(&mut out, "cpu");
    number(&mut out, 6);
    out.extend(b"tQ");
    number(&mut out, offset);
    tuple(&mut out, shape);
    tuple(&mut out, strides);
    out.extend(b"\x89NtRs.");
    out
}

fn opened(pickle: &[u8], floats: usize) -> Result<Vec<f32>, String> {
    let (_folder, path) = scratch();
    archive(&path, pickle, floats);
    read_all(&path);
    let checkpoint = Checkpoint::open(&path).map_err(|error| error.to_string())?;
    let data = checkpoint.tensors()["t"].to_data().map_err(|error| format!("{error:?}"))?;
    Ok(data.convert::<f32>().to_vec::<f32>().unwrap())
}

#[test]
fn a_tensor_that_reaches_beyond_its_storage_is_refused() {
    let plain = tensor_pickle("FloatStorage", 0, &[2, 3], &[3, 1]);
    assert_eq!(opened(&plain, 6).unwrap(), [0., 1., 2., 3., 4., 5.]);
    let shifted = tensor_pickle("FloatStorage", 1, &[2, 3], &[3, 1]);
    assert!(opened(&shifted, 6).unwrap_err().contains("fewer than the tensor needs"));
    let huge = tensor_pickle("FloatStorage", 0, &[i64::MAX, i64::MAX], &[1, 1]);
    assert!(opened(&huge, 6).unwrap_err().contains("fewer than the tensor needs"));
    // One element asked for a million times.
    let bomb = tensor_pickle("FloatStorage", 0, &[1000, 1000], &[0, 0]);
    assert!(opened(&bomb, 6).unwrap_err().contains("fewer than the tensor needs"));
    let negative = tensor_pickle("FloatStorage", 0, &[2], &[-1]);
    assert!(opened(&negative, 6).unwrap_err().contains("negative"));
    let ranks = tensor_pickle("FloatStorage", 0, &[1; 9], &[1; 9]);
    assert!(opened(&ranks, 6).unwrap_err().contains("9 dimensions"));
    let nothing = tensor_pickle("FloatStorage", i64::MAX, &[0, i64::MAX], &[1, 1]);
    assert!(opened(&nothing, 6).unwrap().is_empty());
}

#[test]
fn numbers_of_an_unknown_kind_and_unknown_calls_are_refused_by_name() {
    let complex = tensor_pickle("ComplexFloatStorage", 0, &[1], &[1]);
    assert!(opened(&complex, 6).unwrap_err().contains("torch.ComplexFloatStorage"));
    let bytes = tensor_pickle("ByteStorage", 0, &[3], &[1]);
    assert_eq!(opened(&bytes, 6).unwrap(), [0., 0., 0.]);
    let sparse = b"\x80\x02}X\x01\0\0\0tctorch._utils\n_rebuild_sparse_tensor\n)Rs.";
    assert!(opened(sparse, 6).unwrap_err().contains("torch._utils._rebuild_sparse_tensor"));
    let object = b"\x80\x02cbuiltins\neval\n)\x81.";
    assert!(opened(object, 6).unwrap_err().contains("builtins.eval"));
}

#[test]
fn an_archive_with_a_compressed_or_foreign_entry_is_refused_and_writes_nothing() {
    let (folder, path) = scratch();
    let mut zip = ZipWriter::new(std::fs::File::create(&path).unwrap());
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for name in ["../../outside", "/tmp/outside", "x/data/0"] {
        zip.start_file(name, stored).unwrap();
        zip.write_all(&[0; 24]).unwrap();
    }
    zip.start_file("../x/data.pkl", stored).unwrap();
    zip.write_all(&tensor_pickle("FloatStorage", 0, &[2], &[1])).unwrap();
    zip.finish().unwrap();
    let error = Checkpoint::open(&path).err().map(|error| error.to_string());
    assert!(error.unwrap().contains("../x/data/0"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any program for the pickle machine ends, with an error or a value.
    #[test]
    fn any_pickle_ends(program in proptest::collection::vec(opcode(), 0..60)) {
        let mut pickle = b"\x80\x02".to_vec();
        pickle.extend(program.concat());
        pickle.push(b'.');
        let (_folder, path) = scratch();
        archive(&path, &pickle, 6);
        read_all(&path);
    }

    /// Right numbers for any view that fits, an error for any that does not.
    #[test]
    fn any_view_gives_its_own_numbers_or_an_error(
        offset in 0i64..8,
        shape in proptest::collection::vec(0i64..5, 0..4),
        steps in proptest::collection::vec(0i64..13, 4),
    ) {
        let strides = &steps[..shape.len()];
        let result = opened(&tensor_pickle("FloatStorage", offset, &shape, strides), 12);
        let mut expected = vec![offset];
        for (&length, &step) in shape.iter().zip(strides) {
            let with = |at: &i64| (0..length).map(|i| at + i * step).collect::<Vec<_>>();
            expected = expected.iter().flat_map(with).collect();
        }
        let fits = expected.iter().all(|&at| at < 12) && expected.len() <= 12;
        prop_assert_eq!(result.is_ok(), fits);
        if let Ok(numbers) = result {
            prop_assert_eq!(numbers, expected.iter().map(|&at| at as f32).collect::<Vec<_>>());
        }
    }
}

/// One instruction of a pickle, mostly well formed.
fn opcode() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |bytes: &'static [u8]| Just(bytes.to_vec()).boxed();
    prop_oneof![
        fixed(b"("),
        fixed(b")"),
        fixed(b"}"),
        fixed(b"]"),
        fixed(b"t"),
        fixed(b"N"),
        fixed(b"s"),
        fixed(b"u"),
        fixed(b"a"),
        fixed(b"e"),
        fixed(b"b"),
        fixed(b"R"),
        fixed(b"Q"),
        fixed(b"\x81"),
        fixed(b"\x85"),
        fixed(b"\x86"),
        fixed(b"\x87"),
        fixed(b"\x88"),
        fixed(b"\x94"),
        fixed(b"\x93"),
        fixed(b"0"),
        fixed(b"2"),
        fixed(b"X\x01\0\0\0t"),
        fixed(b"X\x07\0\0\0storage"),
        fixed(b"X\xff\xff\xff\xff"),
        fixed(b"ctorch._utils\n_rebuild_tensor_v2\n"),
        fixed(b"ctorch\nFloatStorage\n"),
        fixed(b"c__torch__.m\nNode\n"),
        fixed(b"ccollections\nOrderedDict\n"),
        any::<u8>().prop_map(|n| vec![b'K', n]),
        any::<u8>().prop_map(|n| vec![b'q', n % 8]),
        any::<u8>().prop_map(|n| vec![b'h', n % 8]),
        any::<[u8; 4]>().prop_map(|n| [&[b'r'][..], &n].concat()),
        any::<[u8; 8]>().prop_map(|n| [&[0x8a, 8][..], &n].concat()),
        any::<u8>().prop_map(|n| vec![n]),
    ]
}
