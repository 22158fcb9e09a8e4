"""A stand-in of Twilio's Messages: WhatsApp and SMS numbers, their customers, and what the vendor does by itself."""
