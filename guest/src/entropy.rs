//! Random bytes: ChaCha20 seeded by the host and RDRAND, with the key replaced after every use.

use crate::arch::cpu;
use chitin_core::lock::{Level, SpinLock};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Level of the generator's lock.
const LEVEL: Level = Level(246);
/// Bytes produced under one hold of the lock.
const PIECE: usize = 1024;

static GENERATOR: SpinLock<Option<ChaCha20Rng>> = SpinLock::new(LEVEL, None);

/// Seeds the generator.
pub(crate) fn init(seed: &[u8; 32]) {
    let mut key = *seed;
    mix_hardware(&mut key);
    *GENERATOR.lock() = Some(ChaCha20Rng::from_seed(key));
}

fn mix_hardware(key: &mut [u8; 32]) {
    for part in key.chunks_exact_mut(8) {
        let random = cpu::hardware_random().unwrap_or(0) ^ cpu::tsc().rotate_left(17);
        for (byte, more) in part.iter_mut().zip(random.to_le_bytes()) {
            *byte ^= more;
        }
    }
}

/// Fills `bytes`.
pub(crate) fn fill(bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(PIECE) {
        let mut generator = GENERATOR.lock();
        let Some(rng) = generator.as_mut() else { continue };
        rng.fill_bytes(piece);
        // What was given out cannot be computed from what is kept.
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        *generator = Some(ChaCha20Rng::from_seed(key));
    }
}
