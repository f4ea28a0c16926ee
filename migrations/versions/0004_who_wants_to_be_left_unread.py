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
    op.create_index('ix_inbox_done', 'inbox', ['conversation_id'], unique=False, sqlite_where=sa.text("state = 'done'"))
    op.create_index('ix_outbox_over', 'outbox', ['conversation_id'], unique=False, sqlite_where=sa.text("state IN ('sent', 'withdrawn')"))
    op.create_index('ix_conversation_forgotten', 'conversation', ['id'], unique=False, sqlite_where=sa.text("forgotten IS 1"))


def downgrade() -> None:
    op.drop_index('ix_conversation_forgotten', table_name='conversation')
    op.drop_index('ix_outbox_over', table_name='outbox')
    op.drop_index('ix_inbox_done', table_name='inbox')
    op.drop_index('ix_person_opted_out', table_name='person')
    op.drop_column('person', 'opted_out')
