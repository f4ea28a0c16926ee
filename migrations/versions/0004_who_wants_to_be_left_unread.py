"""who wants to be left unread"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('person', sa.Column('opted_out', sa.Float(), nullable=True))
    op.create_index('ix_person_opted_out', 'person', ['platform', 'user'], unique=False, sqlite_where=sa.text("opted_out IS NOT NULL"))


def downgrade() -> None:
    op.drop_index('ix_person_opted_out', table_name='person')
    op.drop_column('person', 'opted_out')
