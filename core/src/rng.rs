//! Seeded randomness whose stream is the same in every release. Nothing in core draws from anywhere else.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The generator handed to everything that needs chance. Bring `rand::Rng` into scope to draw.
pub type Rng = ChaCha8Rng;

/// The stream named `concern` of the run that `seed` names: a new concern does not shift the draws of the others.
#[must_use]
pub fn stream(seed: u64, concern: &str) -> Rng {
    // FNV-1a, for a stable number of the name.
    let hash = concern.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut rng = Rng::seed_from_u64(seed);
    rng.set_stream(hash);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, name| stream(seed, name).random::<u64>();
        assert_eq!(draw(7, "net"), draw(7, "net"));
        assert_ne!(draw(7, "net"), draw(7, "disk"));
        assert_ne!(draw(7, "net"), draw(8, "net"));
    }
}
