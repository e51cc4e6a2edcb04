//! The embedded backbone gives, tap by tap, the features of the network that its weights come from:
//! computed in f64 by that network's own code, with the folded weights as they are stored
//! (`scripts/convert_backbone.py --golden`). `FILO_TEST_DEVICE` names the device.

mod support;

use burn::tensor::{Tensor, TensorData};
use filo::device::NetworkBackend;
use filo::weights::backbone::{LoadedBackbone, embedded_backbone};
use support::golden::{Golden, Parity, Place, on_place, repository_golden_dir};

const TOLERANCE: f64 = 1e-4;

/// Edge lengths of the images: one that every stride divides, one that leaves odd lengths, where
/// padding is symmetric.
const SIZES: [usize; 2] = [64, 50];

fn setup<B: NetworkBackend>() -> (Golden, LoadedBackbone<B>, Place) {
    let place = Place::in_f32();
    let backbone = embedded_backbone(&place.device).expect("it is built in");
    let file = format!("backbone/{}.safetensors", backbone.network.config().name);
    (Golden::open(&repository_golden_dir().join(file)), backbone, place)
}

fn image<B: NetworkBackend>(golden: &Golden, size: usize, place: &Place) -> Tensor<B, 4> {
    let pixels = golden.f32(&format!("{size}.image"));
    Tensor::from_data(TensorData::new(pixels, [1, 3, size, size]), &B::own(&place.device))
}

fn values<B: NetworkBackend>(tensor: Tensor<B, 4>) -> Vec<f32> {
    tensor.into_data().to_vec::<f32>().expect("features are f32")
}

#[test]
fn every_tap_agrees_with_the_network_that_the_weights_come_from() {
    on_place!(every_tap_agrees_with_the_network_that_the_weights_come_from_on);
}

fn every_tap_agrees_with_the_network_that_the_weights_come_from_on<B: NetworkBackend>() {
    let (golden, LoadedBackbone { network, .. }, place) = setup::<B>();
    for size in SIZES {
        let mut parity = Parity::new(format!("{size} px"));
        let features = network.features(image(&golden, size, &place));
        assert_eq!(features.len(), network.config().taps.len());
        for (tap, features) in network.config().taps.iter().zip(features) {
            let name = format!("{size}.block{tap}");
            assert_eq!(features.dims().to_vec(), golden.shape(&name));
            let tolerance = place.tolerance(TOLERANCE);
            parity.stage(&name, &values(features), golden.get(&name), tolerance);
        }
        parity.report();
    }
}

#[test]
fn a_batch_gives_what_single_images_give() {
    on_place!(a_batch_gives_what_single_images_give_on);
}

fn a_batch_gives_what_single_images_give_on<B: NetworkBackend>() {
    let (golden, LoadedBackbone { network, .. }, place) = setup::<B>();
    let image = image(&golden, 64, &place);
    let others = [image.clone() * 0.5, image.clone(), image.clone() * -1.0];
    let batch = network.features(Tensor::cat(others.to_vec(), 0));
    for (i, image) in others.into_iter().enumerate() {
        for (batch, single) in batch.iter().zip(network.features(image)) {
            let (batch, single) = (values(batch.clone().narrow(0, i, 1)), values(single));
            if place.is_cpu() {
                assert_eq!(batch, single);
                continue;
            }
            let single = single.into_iter().map(f64::from).collect::<Vec<_>>();
            Parity::new(format!("image {i}")).stage("tap", &batch, &single, 1e-5);
        }
    }
}
