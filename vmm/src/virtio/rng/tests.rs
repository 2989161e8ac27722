//! The entropy device against a scripted guest.

use super::*;
use crate::virtio::driver::{Driver, RAM};

#[test]
fn requests_are_filled_and_bounded() {
    let ram = Arc::new(GuestRam::new(RAM).unwrap());
    let (queue, mut driver) = Driver::new(&ram, "rng.0", 8, 0);
    let mut rng = Rng::new(Arc::clone(&ram), vec![queue]);
    let rooms = driver.submit(&[], &[32, 32]);
    driver.submit(&[b"what?"], &[]);
    driver.submit(&[], &[100_000]);
    rng.kicked(0).unwrap();
    rng.kicked(7).unwrap();
    assert_eq!(driver.returned().unwrap().1, 64);
    assert_eq!(driver.returned().unwrap().1, 0);
    assert_eq!(driver.returned().unwrap().1, 4096);
    assert_ne!(driver.bytes(rooms[0], 32), driver.bytes(rooms[1], 32));
}
