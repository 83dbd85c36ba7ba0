//! Reading: the engine beside its floor, one group a comparison.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use treering_benches::Contest;
use treering_benches::contest::{self, ReadSize};
use treering_benches::engine::Mode;

fn read(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in(".").expect("a directory on the disk to be measured");
    let contests = contest::reading(directory.path(), Mode::Exclusive, ReadSize::ORDINARY);
    for contest in contests.expect("both sides' data were written") {
        let Contest { name, events, engine, floor, .. } = contest;
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
        group.throughput(criterion::Throughput::Elements(events));
        for (side, mut run) in [("engine", engine), ("floor", floor)] {
            group.bench_function(side, |bencher| bencher.iter_custom(|count| run(count).expect("the side ran")));
        }
        group.finish();
    }
}

criterion_group!(suite, read);
criterion_main!(suite);
