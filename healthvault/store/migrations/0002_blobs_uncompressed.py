"""PostgreSQL tries to compress what it moves out of the row; sealed bytes do not compress."""

from django.db import migrations

COLUMNS = [("store_blob", "data")]


def set_storage(storage):
    def run(apps, schema_editor):
        if schema_editor.connection.vendor == "postgresql":
            for table, column in COLUMNS:
                schema_editor.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE {storage}")

    return run


class Migration(migrations.Migration):
    dependencies = [("store", "0001_holder_keys_and_blobs")]
    operations = [migrations.RunPython(set_storage("EXTERNAL"), set_storage("EXTENDED"))]
