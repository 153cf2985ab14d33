//! Each row once, whatever is read again.

use event::{Class, ClassSchema, Shelf};
use storage::{Lake, LakeWriter, Waiting};

use crate::fixture::{Fixture, Place, batch_of, place, processes};

fn once(offsets: &std::collections::BTreeMap<String, i64>) -> bool {
    offsets.values().all(|n| *n == 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_again_are_written_once() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    waiting.push(&[processes(0, 0..10)]).unwrap();
    waiting.push(&[processes(0, 5..15)]).unwrap();
    let flushed = writer.write(waiting.take()).await.unwrap();
    assert_eq!((flushed.rows[&Class::PROCESS_ACTIVITY], flushed.rows_known), (15, 5));
    // The same writer, after its flush.
    waiting.push(&[processes(0, 0..20)]).unwrap();
    let flushed = writer.write(waiting.take()).await.unwrap();
    assert_eq!((flushed.rows[&Class::PROCESS_ACTIVITY], flushed.rows_known), (5, 15));
    // Another one, after a restart: nothing in memory, the table knows.
    let mut writer = f.writer();
    waiting.push(&[processes(0, 0..20)]).unwrap();
    waiting.push(&[processes(0, 20..25)]).unwrap();
    let flushed = writer.write(waiting.take()).await.unwrap();
    assert_eq!((flushed.rows[&Class::PROCESS_ACTIVITY], flushed.rows_known), (5, 20));
    let offsets = f.offsets("process_activity").await;
    assert_eq!(offsets.len(), 25);
    assert!(once(&offsets), "{offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_buffered_when_the_process_died_comes_again() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    waiting.push(&[processes(0, 0..10)]).unwrap();
    writer.write(waiting.take()).await.unwrap();
    waiting.push(&[processes(0, 10..30)]).unwrap();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    waiting.push(&[processes(0, 5..40)]).unwrap();
    writer.write(waiting.take()).await.unwrap();
    let offsets = f.offsets("process_activity").await;
    assert_eq!(offsets.len(), 40);
    assert!(once(&offsets), "{offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_classes_have_marks_of_their_own() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    let files = batch_of(Class::from_name("file_activity").unwrap(), &[place(0, 3), place(1, 1)]);
    waiting.push(&[processes(0, 0..10), processes(1, 0..2), files.clone()]).unwrap();
    writer.write(waiting.take()).await.unwrap();
    let mut writer = f.writer();
    // Behind partition 0's mark, ahead of partition 1's; a topic of another name begins anew.
    let other = Place { topic: "endpoint-2", ..place(0, 0) };
    let mixed = batch_of(Class::PROCESS_ACTIVITY, &[place(0, 9), place(1, 2), place(0, 10), other]);
    waiting.push(&[mixed, files]).unwrap();
    let flushed = writer.write(waiting.take()).await.unwrap();
    assert_eq!(
        flushed.rows.iter().map(|(c, n)| (c.name(), *n)).collect::<Vec<_>>(),
        [("process_activity", 3)]
    );
    assert_eq!(flushed.rows_known, 3);
    let count = f.table("SELECT count(*) AS n FROM process_activity").await;
    assert!(count.contains("| 15 |"), "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_one_exploded_record_stay_together() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    // One record made two rows of one variant and one of another.
    let twice = batch_of(Class::PROCESS_ACTIVITY, &[place(0, 7), place(0, 7)]);
    waiting.push(&[twice.clone(), processes(0, 7..8)]).unwrap();
    waiting.push(&[twice]).unwrap();
    writer.write(waiting.take()).await.unwrap();
    assert_eq!(f.offsets("process_activity").await, [("0/7".to_owned(), 3)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_seen_by_nobody_and_is_small() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    let batch = processes(0, 0..1_000);
    waiting.push(std::slice::from_ref(&batch)).unwrap();
    assert_eq!(waiting.rows(), 1_000);
    let (there, here) = (waiting.bytes(), event::bytes_of(&batch.columns));
    assert!(there > 0 && there * 2 < here, "{here} bytes wait as {there}");
    assert_eq!(f.offsets("process_activity").await.len(), 0);
    writer.write(waiting.take()).await.unwrap();
    assert_eq!((waiting.rows(), waiting.bytes()), (0, 0));
    assert_eq!(f.offsets("process_activity").await.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_the_same_rows_can_be_written_again() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    waiting.push(&[processes(0, 0..5)]).unwrap();
    let class = Class::from_name("file_activity").unwrap();
    // A file where the folder of the table should be.
    let location = f.lake.location(class);
    let path = std::path::Path::new(location.trim_start_matches("file://"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "").unwrap();
    let both = [processes(0, 5..10), batch_of(class, &[place(0, 0)])];
    waiting.push(&both).unwrap();
    writer.write(waiting.take()).await.unwrap_err();
    std::fs::remove_file(path).unwrap();
    waiting.push(&[processes(0, 0..5)]).unwrap();
    waiting.push(&both).unwrap();
    writer.write(waiting.take()).await.unwrap();
    let offsets = f.offsets("process_activity").await;
    assert!(offsets.len() == 10 && once(&offsets), "{offsets:?}");
    assert_eq!(f.offsets("file_activity").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_class_comes_back_as_it_went() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    let batches: Vec<_> = Class::all().map(|class| batch_of(class, &[place(0, 1), place(0, 2)])).collect();
    waiting.push(&batches).unwrap();
    writer.write(waiting.take()).await.unwrap();
    for batch in &batches {
        let schema = ClassSchema::of(batch.class);
        let sql = format!("SELECT * FROM {} ORDER BY \"offset\"", schema.name);
        let rows = f.rows(&sql).await;
        let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
        for (i, field) in schema.arrow.fields().iter().enumerate() {
            let (there, here) = (rows.column(i), batch.columns.column(i));
            let there = arrow::compute::cast(there, here.data_type()).unwrap();
            let (there, here) = (format!("{there:?}"), format!("{here:?}"));
            assert_eq!(there, here, "{}.{}", schema.name, field.name());
        }
        assert_eq!(rows.schema().fields().last().unwrap().name(), "date");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_an_older_schema_gains_its_new_columns() {
    use deltalake::kernel::{DataType, PrimitiveType};
    let f = Fixture::new();
    let location = f.lake.location(Class::PROCESS_ACTIVITY);
    let create = |column: &str, kind: PrimitiveType| {
        deltalake::operations::create::CreateBuilder::new()
            .with_location(location.clone())
            .with_column("tenant", DataType::Primitive(PrimitiveType::String), true, None)
            .with_column("date", DataType::Primitive(PrimitiveType::Date), true, None)
            .with_column(column, DataType::Primitive(kind), true, None)
            .with_partition_columns(["tenant", "date"])
    };
    std::fs::create_dir_all(location.trim_start_matches("file://")).unwrap();
    create("message", PrimitiveType::String).await.unwrap();
    assert_eq!(f.offsets("process_activity").await.len(), 0, "a new column is null before the first write");
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    waiting.push(&[processes(0, 0..3)]).unwrap();
    writer.write(waiting.take()).await.unwrap();
    assert_eq!(f.offsets("process_activity").await.len(), 3);
    // A column whose type changed is an error with the place, not a silent cast.
    let class = Class::from_name("file_activity").unwrap();
    let location = f.lake.location(class);
    std::fs::create_dir_all(location.trim_start_matches("file://")).unwrap();
    deltalake::operations::create::CreateBuilder::new()
        .with_location(location)
        .with_column("time", DataType::Primitive(PrimitiveType::String), true, None)
        .await
        .unwrap();
    let mut writer = f.writer();
    waiting.push(&[batch_of(class, &[place(0, 0)])]).unwrap();
    let error = writer.write(waiting.take()).await.unwrap_err();
    assert!(error.to_string().contains("file_activity: column time is"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn optimized_tables_keep_rows_and_marks() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    for i in 0..5 {
        waiting.push(&[processes(0, i * 10..(i + 1) * 10)]).unwrap();
        writer.write(waiting.take()).await.unwrap();
    }
    writer.optimize(Class::PROCESS_ACTIVITY).await.unwrap();
    let mut writer = f.writer();
    waiting.push(&[processes(0, 0..60)]).unwrap();
    assert_eq!(writer.write(waiting.take()).await.unwrap().rows_known, 50);
    let offsets = f.offsets("process_activity").await;
    assert_eq!(offsets.len(), 60);
    assert!(once(&offsets));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_keeps_the_marks() {
    let f = Fixture::new();
    let (mut waiting, mut writer) = (f.waiting(), f.writer());
    for i in 0..55 {
        waiting.push(&[processes(i % 3, i..i + 1)]).unwrap();
        writer.write(waiting.take()).await.unwrap();
    }
    let mut writer = f.writer();
    for partition in 0..3 {
        waiting.push(&[processes(partition, 0..52)]).unwrap();
    }
    let flushed = writer.write(waiting.take()).await.unwrap();
    assert_eq!(flushed.rows.len(), 0, "{flushed:?}");
}

#[test]
fn a_lake_needs_a_place_it_knows() {
    let error = Lake::open("nowhere://bucket/x", Default::default()).and_then(|lake| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (mut waiting, mut writer) = (Waiting::on(Shelf::in_memory()), LakeWriter::new(lake));
        waiting.push(&[processes(0, 0..1)])?;
        runtime.block_on(writer.write(waiting))
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("nowhere://bucket/x"), "{error}");
}
