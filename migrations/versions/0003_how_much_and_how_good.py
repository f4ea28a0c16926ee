"""how much was answered, and how good it was"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

REPLY = sa.text("kind = 'reply' AND part = 0")


def upgrade() -> None:
    op.create_table('feedback',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('conversation_id', sa.Integer(), nullable=False),
    sa.Column('history_id', sa.Integer(), nullable=False),
    sa.Column('value', sa.Integer(), nullable=False),
    sa.Column('at', sa.Float(), nullable=False),
    sa.ForeignKeyConstraint(['conversation_id'], ['conversation.id'], name=op.f('fk_feedback_conversation_id_conversation'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['history_id'], ['history.id'], name=op.f('fk_feedback_history_id_history'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_feedback')),
    sa.UniqueConstraint('conversation_id', 'history_id', name=op.f('uq_feedback_conversation_id_history_id'))
    )
    op.create_index('ix_feedback_history_id', 'feedback', ['history_id'], unique=False)
    op.create_index('ix_feedback_at', 'feedback', ['at'], unique=False)
    op.create_index('ix_conversation_user', 'conversation', ['user'], unique=False)
    op.create_index('ix_outbox_answers', 'outbox', ['conversation_id', 'queued_at', 'state'], unique=False, sqlite_where=REPLY)
    op.create_index('ix_outbox_answered_at', 'outbox', ['queued_at', 'state'], unique=False, sqlite_where=REPLY)
    op.create_index('ix_outbox_message_id', 'outbox', ['message_id'], unique=False, sqlite_where=sa.text("kind = 'reply'"))


def downgrade() -> None:
    op.drop_index('ix_outbox_message_id', table_name='outbox')
    op.drop_index('ix_outbox_answered_at', table_name='outbox')
    op.drop_index('ix_outbox_answers', table_name='outbox')
    op.drop_index('ix_conversation_user', table_name='conversation')
    op.drop_index('ix_feedback_at', table_name='feedback')
    op.drop_index('ix_feedback_history_id', table_name='feedback')
    op.drop_table('feedback')
